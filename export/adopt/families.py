"""The table of families, and the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import AdoptError
from .detr import Detr, DetrLogits, RfDetr
from .endtoend import EndToEnd
from .fastestdet import FastestDet
from .nanodet import NanoDet, NanoDetPlus
from .ssd import Ssd
from .yolov5 import YoloV5, YoloV6, YoloxDecoded
from .yolov8 import YoloV8
from .yolox import Yolox

if TYPE_CHECKING:
    from .family import Family
    from .signature import Signature

FAMILIES: tuple[Family, ...] = (
    Yolox(),
    YoloxDecoded(),
    YoloV5(),
    YoloV6(),
    YoloV8(),
    EndToEnd(),
    Detr(),
    DetrLogits(),
    RfDetr(),
    NanoDet(),
    NanoDetPlus(),
    FastestDet(),
    Ssd(),
)
NAMES = tuple(family.name for family in FAMILIES)


def recognise(signature: Signature, asked: str | None = None) -> Family:
    """Return the family of a model, or the `asked` one if it can be.

    Raises AdoptError with each family's reason when none or more than one fits.
    """
    candidates = [family for family in FAMILIES if asked in {None, family.name}]
    if not candidates:
        raise AdoptError(f"no family {asked!r}; known are {', '.join(NAMES)}")
    reasons = {family: family.refusal(signature) for family in candidates}
    fitting = [family for family, reason in reasons.items() if reason is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise AdoptError(f"could be any of {', '.join(f.name for f in fitting)}; say which with --family")
    listed = "\n".join(f"  {family.name}: {reason}" for family, reason in reasons.items())
    raise AdoptError(f"the outputs fit no known family:\n{listed}")
