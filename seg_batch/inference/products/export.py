"""The products of one run: which there are, their provenance, and what of them is made while blocks come in."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from seg_batch.config.postprocess import describe
from seg_batch.core.geometry import Block
from seg_batch.core.privacy.addresses import folder_and_name
from seg_batch.core.registry.formats import holds_probabilities
from seg_batch.core.spells import spell
from seg_batch.core.text import visible
from seg_batch.core.versions import package_version
from seg_batch.inference.plan import Plan
from seg_batch.inference.report import BlockTally
from seg_batch.inference.request import Prepared
from seg_batch.io.sinks.early import EarlyProduct
from seg_batch.io.sinks.product import (
    Product,
    begin_product,
    export_product,
    format_of,
    like_of,
    probabilities_spec,
)
from seg_batch.io.sinks.spec import ProductSpec, Read
from seg_batch.io.sinks.work_store import WorkStore, fingerprint_digest
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.model_grid import words_of
from seg_batch.io.sources.views.rescaled import scale_by_hand

_MOST_NAMED = 20  # pieces of a mosaic


class Export:
    """The products of a run, made from its store. Blocks are told as they are done."""

    def __init__(self, prepared: Prepared[Plan], store: WorkStore) -> None:
        self._prepared, self._store = prepared, store
        self._early: dict[Path, EarlyProduct[Read]] = {}

    @classmethod
    @contextmanager
    def begun(
        cls, prepared: Prepared[Plan], store: WorkStore, done: Container[str]
    ) -> Iterator[Export]:
        """``done``: the names of blocks that are in the store. With steps after prediction nothing is made early."""
        export, blocks = cls(prepared, store), prepared.plan.output_blocks
        with ExitStack() as opened:
            for path, spec in export._specs({}).items() if not prepared.plan.post else ():
                if (early := begin_product(store, path, spec, blocks)) is not None:
                    export._early[path] = opened.enter_context(closing(early))
            for block in blocks:
                if block.name in done:
                    export.block_done(block)
            yield export

    def block_done(self, block: Block) -> None:
        for early in self._early.values():
            early.block_done(block)

    @spell("export")
    def products(self, run: BlockTally, labels: str) -> list[Product]:
        """The labels, and the probabilities where the plan has them and they are not in the same product.
        ``labels``: the store's map after the last step."""
        status = "PARTIAL" if run.failures else "complete"
        specs = self._specs(provenance(self._prepared, status))
        products = []
        for path, spec in specs.items():
            early = self._early.get(path)
            products.append(export_product(self._store, path, spec, labels, early))
            if early is not None:
                early.close()  # its tiles take as much disk as the product
        return products[::-1]

    def _specs(self, tags: dict[str, str]) -> dict[Path, ProductSpec]:
        """By path, the labels last."""
        outputs, spec = self._prepared.outputs, label_spec(self._prepared, tags)
        specs = {}
        if self._prepared.plan.probabilities and not holds_probabilities(outputs.product.name):
            specs[outputs.probabilities] = probabilities_spec(spec)
        return {**specs, outputs.product: spec}


def label_spec(prepared: Prepared[Plan], tags: dict[str, str]) -> ProductSpec:
    """The specification of the map."""
    info, plan, cut = prepared.of_product, prepared.plan, prepared.cut
    image = prepared.request.image()
    return ProductSpec(
        extent=info.extent,
        dtype=plan.label_dtype,
        nodata=plan.nodata if info.kind == "raster" else None,
        classes=prepared.model.card.classes,
        georef=info.georef,
        tags=tags,
        like=like_of(info, format_of(prepared.outputs.product, info.kind)),
        with_probabilities=plan.probabilities,
        image=image if cut is None else replace(image, window=cut.of_image),
        window=None if cut is None else cut.box,
        card=prepared.model.card,
        seg=prepared.request.options.seg,
        compress=prepared.request.options.compress,
        further=prepared.request.options.further,
    )


def provenance(prepared: Prepared[Plan], status: str) -> dict[str, str]:
    """The tags of a product: how it was made."""
    model, pseudonym = prepared.model, prepared.request.pseudonym
    names = [pseudonym.code] if pseudonym else _names(prepared.info)
    tags = {
        "SEGBATCH_VERSION": f"segbatch {package_version()}",
        "SEGBATCH_MODEL": _together(model.names),
        "SEGBATCH_WEIGHTS": _together(m.card.weights_sha256 for m in model.all),
        "SEGBATCH_TTA": prepared.plan.tta.replace("none", ""),
        "SEGBATCH_BANDS": ",".join(map(str, prepared.info.bands)),
        "SEGBATCH_SCALE": scale_by_hand(prepared.info),
        "SEGBATCH_INPUT": visible(", ".join(names)),
        "SEGBATCH_FINGERPRINT": fingerprint_digest(prepared.plan.fingerprint),
        "SEGBATCH_POST": "; ".join(map(describe, prepared.plan.post)),
        "SEGBATCH_STATUS": status,
        "SEGBATCH_GRID": words_of(prepared.plan.model_grid),
        "SEGBATCH_FIT": "; ".join(prepared.verdict.refusals),
        "SEGBATCH_LICENCE": _together(m.card.licence for m in model.all),
    }
    classes = {f"CLASS_{c.id}": c.name for c in model.card.classes}
    # Formats keep no blanks around a tag: a name may begin with one.
    return {k: text for k, v in {**tags, **classes}.items() if (text := v.strip())}


def _names(info: SourceInfo) -> list[str]:
    """Of the files; of many pieces of a mosaic the first few, and how many more there are."""
    names = [folder_and_name(path)[1] for path in info.paths]
    more = len(names) - _MOST_NAMED
    return [*names[:_MOST_NAMED], f"{more} more"] if info.pieces and more > 1 else names


def _together(texts: Iterable[str]) -> str:
    """The texts of an ensemble's members, each once and in order."""
    return " + ".join(dict.fromkeys(filter(None, texts)))
