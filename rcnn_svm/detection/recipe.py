"""What may follow the first scores of an image, and its numbers, which commands show without loading what does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rcnn_svm.errors import InputError

# The boxes of an image that are scored again, and those of each class among them. On real images 60 gained 2 points of
# mAP, and a second round nothing.
PER_IMAGE, PER_CLASS = 60, 5


@dataclass(frozen=True)
class Recipe:
    """What a detector does with the boxes that it found in an image.

    Attributes:
        vote: move boxes by voting.
        again: score so many of them again; 0 for none.
        soft_nms: lower the scores of those that overlap better ones, in the place of suppression.

    Raises:
        InputError: they are no such values.
    """

    vote: bool = False
    again: int = 0
    soft_nms: bool = False

    def __post_init__(self) -> None:
        for name in ("vote", "soft_nms"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected True or False")
        if not isinstance(self.again, int) or isinstance(self.again, bool) or self.again < 0:
            raise InputError(f"again is {self.again!r}, expected a number of boxes to score again, or 0 for none")

    def changed(self, **given: Any) -> Recipe:
        """Return it with other values, where they are not None."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Recipe:
        """Return what `to_json` wrote; a name that is missing has its default.

        Raises:
            InputError: it names something else, which a later version may know.
        """
        unknown = sorted(recorded.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise InputError(f"the detector's recipe has {unknown[0]!r}, which this version of rcnn-svm does not know")
        return cls(**recorded)

    def __str__(self) -> str:
        steps = ["box voting"] * self.vote + [f"{self.again} boxes scored again"] * bool(self.again)
        steps += ["soft-NMS"] * self.soft_nms
        return ", ".join(steps) or "none"
