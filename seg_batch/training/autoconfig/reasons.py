"""A setting of the advised recipe, with its reason in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reason:
    """A setting and the reason for its value. ``key`` is dotted, as for ``--set``. A ``warning`` sets
    nothing, it names the setting that it is about. ``shown``: a long value in words."""

    key: str
    value: Any
    why: str
    warning: bool = field(default=False, kw_only=True)
    shown: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        """``fit.patch = 128 x 128: ...`` on one line."""
        if self.warning:
            return f"{self.key}: warning: {self.why}"
        return f"{self.key} = {self.shown or show(self.value)}: {self.why}"


def show(value: Any) -> str:
    """A setting's value in few words."""
    if isinstance(value, dict):
        if "name" in value:
            rest = {k: v for k, v in value.items() if k not in ("name", "colour")}
            return f"{value['name']} ({show(rest)})" if rest else str(value["name"])
        return ", ".join(f"{k} {show(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        joint = " + " if value and isinstance(value[0], dict) else " x "
        return joint.join(map(show, value)) if value else "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
