"""What every detector family says of itself: how its picture goes in, and how its outputs become boxes.

A family decodes only the rows that survive the top-K: it first gives one score a candidate, `tail` picks the best
`MAX_ROWS`, and the family then decodes those. NMS is never put into the graph: ONNX Runtime's CUDA NonMaxSuppression
waits for the host and breaks CUDA graphs; the daemon suppresses the few rows that come out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a family wants its picture: `(value - mean) / std` on 0..255 values, both in the order of `channels`."""

    channels: Literal["rgb", "bgr"]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelOverrides:
    """What a model was trained with unlike its family; None leaves the family's."""

    channels: Literal["rgb", "bgr"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def apply(self, pixels: Pixels) -> Pixels:
        """Return `pixels` with these changes."""
        return Pixels(
            self.channels or pixels.channels,
            pixels.mean if self.mean is None else self.mean,
            pixels.std if self.std is None else self.std,
        )


RGB_UNIT = Pixels("rgb", std=(255.0, 255.0, 255.0))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Decoded rows, names of tensors in the graph: boxes [N, K, 4] xyxy pixels, scores [N, K], classes [N, K] int64."""

    boxes: str
    scores: str
    classes: str


class Family(ABC):
    """One output layout. `refusal` recognises it, `decode` builds its part of the tail."""

    name: ClassVar[str]
    about: ClassVar[str]
    pixels: ClassVar[Pixels]
    suppressed: ClassVar[bool] = False
    fit: ClassVar[Literal["letterbox", "stretch"]] = "letterbox"
    nms_iou: ClassVar[float] = 0.65
    first_class: ClassVar[int] = 0  # the number that the model gives its first class

    @abstractmethod
    def refusal(self, signature: Signature) -> str | None:
        """Why the file cannot be of this family; None when it can."""

    @abstractmethod
    def class_count(self, signature: Signature) -> int | None:
        """Return the number of classes that the outputs carry; None when the shape does not tell."""

    @abstractmethod
    def candidates(self, signature: Signature) -> int:
        """Return the number of boxes that the network proposes for a picture."""

    @abstractmethod
    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Turn the model's outputs (names, in `signature.outputs` order) into at most `rows` candidates."""

    def extra_inputs(self, build: Builder, signature: Signature) -> dict[str, str]:  # noqa: ARG002
        """Constants for inputs other than the picture: input name to tensor name."""
        return {}


def best_rows(build: Builder, scores: str, rows: int) -> tuple[str, str]:
    """Return the `rows` largest of `scores` [N, n], falling: values and indices, both [N, rows]."""
    top = build.op("TopK", scores, build.ints([rows]), outputs=2, axis=1, largest=1, sorted=1)
    return top, f"{top}_1"


def corners(build: Builder, centres: str, sizes: str) -> str:
    """Return boxes [N, K, 4] xyxy from centres [N, K, 2] and sizes [N, K, 2]."""
    half = build.op("Mul", sizes, build.floats(0.5))
    return build.concat(build.op("Sub", centres, half), build.op("Add", centres, half))


def one_output(signature: Signature, rank: int) -> str | None:
    """Return a refusal unless there is exactly one output of `rank` axes."""
    if len(signature.outputs) != 1:
        return f"has {len(signature.outputs)} outputs, expected 1"
    shape = signature.outputs[0].shape
    return None if len(shape) == rank else f"output has shape {list(shape)}, expected {rank} axes"
