"""Which of nnU-Net's own trainers (2.0 to 2.8) leave the network as the plans have it.

They change losses, augmentation, learning rates, sampling or the number of epochs. What they change of prediction,
the axes of mirroring, is in their checkpoints.
"""

from __future__ import annotations

import re
from typing import Final

BATCH_NORM: Final = "nnUNetTrainerBN"  # batch normalisation in the place of that of the plans
# Whole names; the process that reads checkpoints goes by it, too.
PATTERN: Final = r"""(?x)
nnUNetTrainer
( BN
| _\d+epochs?(_NoMirroring)?
| Benchmark_5epochs(_noDataLoading)?
| DA5(ord0|Segord0)? | DA5_\d+epochs?
| NoDA | _noDummy2DDA
| _DASegOrd0(_NoMirroring)?
| _?NoMirroring
| _onlyMirror01(_\d+ep|_DASegOrd0|_DA5)?
| _warmup | CosAnneal
| Adan(1en3|3en4|1en1|CosAnneal)?
| (Vanilla)?Adam(1en3|3en4)?
| DiceLoss | DiceCELoss_noSmooth
| Topk10Loss(LS01)? | DiceTopK10Loss
| CELoss(_\d+epochs?)?
| NoDeepSupervision
| _probabilisticOversampling(_\d+)?
)?
| nnUNet_Trainer_BS8
"""


def keeps_network(trainer: str) -> bool:
    """Whether the network of this trainer is known: that of the plans, or that with batch normalisation."""
    return re.fullmatch(PATTERN, trainer) is not None
