"""The key ``inputs.stac``: items of a STAC catalogue, by their place or by a search."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from seg_batch.config.image_options.scene import require_bbox
from seg_batch.config.validation import CheckedValue
from seg_batch.config.workflow.fields import Positive, Words, as_list
from seg_batch.config.workflow.paths import ExpandedText, path_of
from seg_batch.core.errors import PlanError
from seg_batch.core.privacy.addresses import is_remote

SEARCH = ("collections", "bbox", "datetime", "query")


def _place(value: object, info: ValidationInfo) -> object:
    """A path that starts at the folder of its file; an address as it is."""
    return value if is_remote(value) else path_of(value, info)  # type: ignore[arg-type]


def _api(text: str) -> str:
    if not text.lower().startswith(("https://", "http://")):
        raise ValueError(f"{text[:80]!r} is no address of a STAC API: write https://host/path")
    return text


def _bbox(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(v, int | float) for v in value):
        raise ValueError(
            "write a box as [west, south, east, north] in degrees, like [13, 52, 13.8, 52.7]"
        )
    try:
        require_bbox("bbox", tuple(map(float, value)))
    except PlanError as error:
        raise ValueError(error.message) from None
    return value


Place = Annotated[Annotated[str, Field(min_length=1), AfterValidator(str)], BeforeValidator(_place)]


class StacSettings(CheckedValue):
    """Images of a STAC catalogue, one for each item. ``items``: files or addresses of items, collections of items, or catalogues
    with all items below; or ``api``, with a search by ``collections``, ``bbox``, ``datetime`` and ``query``. ``assets``: the
    keys of those that make up an image, in this order; by default those that the channels of the model are in, else all data.
    ``limit``: of items."""

    items: Annotated[tuple[Place, ...], BeforeValidator(as_list)] = ()
    api: Annotated[ExpandedText, AfterValidator(_api)] | None = None
    collections: Words = ()
    bbox: Annotated[tuple[float, ...], BeforeValidator(_bbox)] | None = None
    datetime: Annotated[str, Field(min_length=1)] | None = None
    assets: Words = ()
    query: dict[str, Any] = Field(default_factory=dict)
    limit: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"items": value} if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _items_or_api(self) -> Self:
        if bool(self.items) == bool(self.api):
            raise ValueError("give items, which are files or addresses, or an api to be searched")
        said = [name for name in SEARCH if getattr(self, name)]
        if self.items and said:
            raise ValueError(
                f"{', '.join(said)} are of a search, and items are named here: drop them, or give an api"
            )
        if self.api and not said:
            raise ValueError(
                "a search without collections, bbox, datetime or query finds all that there is: give some"
            )
        return self
