"""What must stay equal for a run to be resumed, besides the plan's own decisions."""

from __future__ import annotations

from typing import Any

from seg_batch.config.card import ModelCard
from seg_batch.config.card_parts.network import AS_BEFORE
from seg_batch.config.image_options.scene import AreaOptions
from seg_batch.core.privacy.pseudonym import Pseudonym
from seg_batch.core.versions import package_version
from seg_batch.inference.bundles import Model
from seg_batch.inference.deidentified.telling import identity_of
from seg_batch.inference.outputs import Outputs
from seg_batch.io.sinks.product import format_of
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.channels.alpha import contrary_reading
from seg_batch.io.vectors.area import Area


def identity_of_run(
    info: SourceInfo,
    model: Model,
    volume: int | None,
    channels_last_axis: bool,
    pseudonym: Pseudonym | None,
) -> dict[str, Any]:
    """What must stay equal for a run to be resumed, besides the plan's own decisions."""
    names = model.names
    weights = [
        member.card.weights_sha256 or getattr(member.function, "__qualname__", "")
        for member in model.all
    ]
    series = {"series": info.series} if info.series else {}
    return {
        **identity_of(pseudonym, info.identity, series),
        "volume": volume,
        "model": names if model.members else names[0],
        "weights": weights if model.members else weights[0],
        "segbatch": package_version(),
        **({"channels_last_axis": True} if channels_last_axis else {}),
        **({} if (alpha := contrary_reading(info, model.card)) is None else {"alpha": alpha}),
        **({"bands": info.bands} if info.taken else {}),
        **info.composed,
        **({name: getattr(info, name) for name in ("scale", "offset")} if info.rescaled else {}),
        **({} if model.card.output == AS_BEFORE else {"output": _output_of(model.card)}),
        **({} if model.card.crop == "none" else {"background": model.card.background_index}),
        **({} if all(c.tensors is None for c in model.cards) else {"tensors": _tensors_of(model)}),
    }


def segments_of(seg: str, outputs: Outputs) -> dict[str, str]:
    """How the main product stores its segments, where that is not as ever."""
    counts = format_of(outputs.product, "volume") == "dicom_seg" and seg != "labelmap"
    return {"seg": seg} if counts else {}


def compression_of(compress: str, outputs: Outputs, kind: str) -> dict[str, str]:
    """How the main product is compressed, where that is not as ever."""
    counts = kind == "raster" and format_of(outputs.product, kind) == "cog" and compress != "auto"
    return {"compress": compress} if counts else {}


def area_identity(area: Area | None, options: AreaOptions) -> dict[str, Any]:
    """Which part of the raster is wanted, on its pixels, and whether the product is cut to it."""
    if area is None:
        return {}
    return {"area": area.digest, **({"cropped": True} if options.crop else {})}


def _output_of(card: ModelCard) -> dict[str, Any]:
    """What the card says of the output of its network, as JSON."""
    return {**card.output.model_dump(mode="json"), "background": card.background_index}


def _tensors_of(model: Model) -> list[Any]:
    """Which tensors of each file are used, as JSON."""
    each = (card.tensors for card in model.cards)
    return [tensors and tensors.model_dump(mode="json") for tensors in each]
