"""Label sets: the ones everybody uses, and reading others from a file or the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip
# COCO's own category numbers run from 1 to 90 with these holes; TensorFlow, torchvision and RF-DETR use them.
COCO91_HOLES = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


COCO91_NOTE = ", coco91"  # how a model's `source` says that its classes were mapped from COCO's own numbers


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of the classes. `class_map`: label index for each class number of the model, -1 for none; None = as is."""

    names: tuple[str, ...]
    class_map: tuple[int, ...] | None = None


def coco91() -> Labels:
    """COCO's 80 names for models that count classes by COCO's category numbers 1..90."""
    numbers = [number for number in range(1, 91) if number not in COCO91_HOLES]
    return Labels(COCO, tuple(numbers.index(n) if n in numbers else -1 for n in range(91)))


def read_labels(text: str) -> Labels:
    """Read `coco`, `coco91`, a file with one name a line, or a comma list.

    Raises LabError when names are empty or repeated, or a file that it looks like does not exist.
    """
    if text == "coco":
        return Labels(COCO)
    if text == "coco91":
        return coco91()
    path = Path(text)
    if path.is_file():
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    elif path.suffix in {".txt", ".names"} or "/" in text:
        raise LabError(f"--labels {text}: no such file; give coco, coco91, a file with one name a line, or a,b,c")
    else:
        names = [name.strip() for name in text.split(",")]
    return Labels(_checked(names, text))


def names_of(text: str) -> tuple[str, ...]:
    """Return the class names of `read_labels`, for models of our own: they count classes as the names are listed."""
    return read_labels(text).names


def noted_labels(props: dict[str, str]) -> Labels | None:
    """Labels that Ultralytics exports note in their metadata as `names = {0: 'person', ...}`."""
    pairs = re.findall(r"(\d+):\s*(['\"])(.*?)\2", props.get("names", ""))
    numbered = {int(number): name for number, _, name in pairs}
    if not numbered or sorted(numbered) != list(range(len(numbered))):
        return None
    return Labels(tuple(numbered[i] for i in range(len(numbered))))


def _checked(names: list[str], text: str) -> tuple[str, ...]:
    if not names or not all(names):
        raise LabError(f"--labels {text}: an empty name")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LabError(f"--labels {text}: repeated names: {', '.join(repeated)}")
    return tuple(names)
