"""Pictures from what users have: folders, single pictures, recordings. A sample is spread evenly over all of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import av
import cv2
import numpy as np

from .errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

T = TypeVar("T")
SHORT_FRAMES = 3000  # videos up to this are decoded whole
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
VIDEOS = frozenset({".mp4", ".mkv", ".avi", ".mov", ".ts", ".m4v", ".webm"})


def sample_pictures(sources: Iterable[Path], count: int) -> list[Picture]:
    """Return up to `count` BGR pictures, spread evenly over all files of `sources` (files or folders, searched deep).

    Raises DatasetError when a source does not exist or nothing readable is found.
    """
    given = list(sources)
    stills, videos = _files(given)
    share = count // 2 if stills and videos else count
    pictures = [read_picture(path) for path in _spread(stills, count - share if videos else count)]
    for path, part in _shares(videos, share):
        pictures += _spread(list(_frames(path, part)), part)
    if not pictures:
        raise DatasetError(f"{', '.join(map(str, given))}: no pictures or videos found ({_endings()})")
    return pictures[:count]


def read_picture(path: Path) -> Picture:
    """Return a picture as BGR; raises DatasetError when it cannot be read."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if picture is None:
        raise DatasetError(f"{path}: no such file" if not path.is_file() else f"{path}: not a picture that can be read")
    return np.asarray(picture, np.uint8)


def _files(sources: list[Path]) -> tuple[list[Path], list[Path]]:
    stills: list[Path] = []
    videos: list[Path] = []
    for source in sources:
        if not source.exists():
            raise DatasetError(f"{source}: no such file or folder")
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        stills += [file for file in files if file.suffix.lower() in PICTURES]
        videos += [file for file in files if file.suffix.lower() in VIDEOS]
    return stills, videos


def _shares(videos: list[Path], count: int) -> list[tuple[Path, int]]:
    """Videos to use and how many pictures each gives."""
    used = _spread(videos, count)
    return [(path, count // len(used) + (index < count % len(used))) for index, path in enumerate(used)]


def _frames(path: Path, count: int) -> Iterator[Picture]:
    """Decode about twice as many frames as asked, at even distances; long recordings by jumping to key frames."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if 0 < stream.frames <= SHORT_FRAMES or not container.duration:
                yield from _every(container, stream, 2 * count)
            else:
                yield from _jumps(container, stream, count)
    except (av.FFmpegError, IndexError) as exc:
        raise DatasetError(f"{path}: not a video that can be read ({exc})") from exc


def _every(container: Any, stream: Any, most: int) -> list[Picture]:
    """Decode up to SHORT_FRAMES frames; keep at most `most` at even distances, however many there turn out to be."""
    kept: list[Picture] = []
    step = 1
    for index, frame in enumerate(container.decode(stream)):
        if index >= SHORT_FRAMES:
            break
        if index % step == 0:
            kept.append(frame.to_ndarray(format="bgr24"))
        if len(kept) > most:
            kept, step = kept[::2], 2 * step
    return kept


def _jumps(container: Any, stream: Any, count: int) -> Iterator[Picture]:
    """Decode one frame after each jump: an hour of recording costs no more than a minute of it."""
    last, begin = None, container.start_time or 0
    for moment in np.linspace(0, container.duration, count, endpoint=False).astype(int).tolist():
        container.seek(begin + moment)  # to the key frame before
        frame = next(iter(container.decode(stream)), None)
        if frame is not None and frame.pts != last:
            last = frame.pts
            yield frame.to_ndarray(format="bgr24")


def _spread(items: list[T], count: int) -> list[T]:
    """Up to `count` items at even distances."""
    if len(items) <= count:
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, count).round().astype(int)] if count else []


def _endings() -> str:
    return ", ".join(sorted(PICTURES | VIDEOS))
