"""HTML pages from the templates of the package."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from seg_batch.core.resources import PAGES


def environment(**filters: Callable[..., str]) -> Environment:
    """The templates of pages, with these filters: all is escaped, and nothing may be left out."""
    made = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    return made
