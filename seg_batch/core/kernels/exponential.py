"""The numbers by which probabilities are made of sums, of machine code and NumPy alike; nothing is compiled here.

``exp(x)`` of ``x <= 0`` is ``2**k * exp(r)``, the latter by its series, with a relative error of 2e-6.
"""

from __future__ import annotations

from typing import Final

import numpy as np

# How they are made: not at all; of logits; of each logit its own, the background 1 less the largest; the same of probabilities.
AS_THEY_ARE: Final = 0
SOFTMAX: Final = 1
SIGMOID: Final = 2
EACH: Final = 3

LEAST = np.float32(-87)  # an x below it is as good as it
PER_LN2 = np.float32(1.4426950408889634)
LN2, LN2_REST = np.float32(0.693145751953125), np.float32(1.42860682e-06)
SERIES = tuple(np.float32(1 / n) for n in (720, 120, 24, 6, 2, 1, 1))
POWERS = (2.0 ** np.arange(-126, 1)).astype(np.float32)  # 2**k
