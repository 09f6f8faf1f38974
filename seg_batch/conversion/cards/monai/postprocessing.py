"""The transforms of MONAI after its network, one by one."""

from __future__ import annotations

from typing import Any

from seg_batch.conversion.cards.entry import Entry
from seg_batch.conversion.cards.monai.config import Config

_NOTHING = {"EnsureTyped", "SaveImaged", "ToTensord", "CastToTyped", "ToCpud"}


class Postprocessing:
    """From scores to labels. ``largest``: labels of which the largest object stays; None: no such step."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sigmoid, self.softmax, self.argmax = False, False, False
        self.threshold = 0.5
        self.largest: tuple[int, ...] | None = None
        self.sentences: list[str] = []
        for step in config.components(config.root["postprocessing"]):
            self._take(config.target(step), step)
        if self.sigmoid and not self.argmax:
            self.sentences.append(
                "a voxel may be of several classes there, and gets the most probable one here"
            )

    def _take(self, name: str, step: Entry) -> None:
        if name == "Activationsd":
            self._activation(step)
        elif name == "AsDiscreted":
            self._discrete(step)
        elif name == "Invertd":
            if not self.argmax and self.softmax:
                self.sentences.append(
                    "Invertd resamples probabilities, and here scores are resampled before their softmax"
                )
        elif name == "KeepLargestConnectedComponentd":
            self._keep(step)
        elif name not in _NOTHING:
            raise step.error(
                f"the transform {name!r} is not known here: leave it out where a map needs it not, or say it as post with --card"
            )

    def _activation(self, step: Entry) -> None:
        flag = self.config.flag
        if step["other"]:
            raise step["other"].error(
                "another function than sigmoid and softmax: code is never run"
            )
        self.sigmoid |= flag(step["sigmoid"])
        self.softmax |= flag(step["softmax"])
        if self.sigmoid and self.softmax:
            raise step.error("sigmoid and softmax are two wishes: give one of them")

    def _discrete(self, step: Entry) -> None:
        self.argmax |= self.config.flag(step["argmax"])
        threshold = self.config.entry(step["threshold"])
        if not threshold:
            return
        if not self.sigmoid:
            raise step.error("it has a threshold, and no sigmoid comes before it")
        self.threshold = threshold.number()
        if not 0 < self.threshold < 1:
            raise step["threshold"].refused("a number between 0 and 1")

    def _keep(self, step: Entry) -> None:
        if not self.argmax:
            raise step.error("objects are kept before there is one label for each voxel")
        if not self.config.flag(step["independent"], True):
            raise step.error("objects are of several labels together, and here of each")
        self.largest = tuple(
            int(self.config.number(e)) for e in self.config.items(step["applied_labels"])
        )
        self.sentences.append(
            "objects touch by their corners in KeepLargestConnectedComponentd, and by faces here"
        )

    def post(self, names: dict[int, str]) -> dict[str, Any]:
        """The steps of a card. ``names``: of the classes, by label."""
        if self.largest is None:
            return {}
        step: dict[str, Any] = {"step": "largest"}
        if self.largest:
            if missing := [k for k in self.largest if k not in names]:
                raise self.config.root["postprocessing"].error(
                    f"the label {missing[0]} is of no class"
                )
            step["classes"] = [names[k] for k in self.largest]
        return {"post": [step]}
