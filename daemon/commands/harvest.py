"""`leptond harvest`: the frames worth labelling from one's own cameras, as a COCO dataset with the model's own boxes.

Reads `detections.db` and the recordings, both of which the daemon may go on writing. A frame that is no longer, or was
never, recorded is counted and left out. Two frames are near-duplicates when their pictures are alike by difference hash
(Krawetz, 2013) and so are their boxes: all pictures of a fixed camera are alike. Privacy masks are black.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from ..clock import NS_PER_S, SystemClock, iso_utc
from ..config.config import load_unlocked
from ..config.settings import Polygon
from ..errors import MediaError
from ..events.detection_log import StoredFrame, read_frames
from ..recording.recording_index import RecordingIndex, open_existing
from ..recording.segment_reader import SegmentReader
from ..recording.snapshot import Image, blacken, decode_nearest, save_jpeg
from ..recording.timeline import TimedPacket
from .interest import Rows, Seen, candidates, has_alike, spread

UNITS_S: Final = {"m": 60, "h": 3600, "d": 86400}
PRELABEL_MIN_SCORE: Final = 0.25  # a person deletes a wrong box faster than she draws a missing one
REORDER_NS: Final = NS_PER_S  # B frames: packets up to this later may show earlier
ALIKE_BITS: Final = 5  # of the 64 of a difference hash
MAX_GAP_NS: Final = 2 * NS_PER_S


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    parser = subparsers.add_parser(
        "harvest",
        help="collect frames worth labelling from the recordings",
        description="Writes the recorded frames in which the model was unsure or contradicted itself, with its own "
        "boxes as pre-labels, as a COCO dataset: train with `--data FOLDER/annotations.json FOLDER/images`.",
    )
    parser.add_argument("--since", type=duration_s, default=duration_s("7d"), metavar="AGE", help="30m, 12h, 7d (7d)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new folder for the dataset")
    parser.add_argument("--camera", action="append", help="only this camera; may be given again")
    parser.add_argument("--max", type=frames, default=500, metavar="N", help="frames a camera at most (%(default)s)")
    parser.add_argument("--apart", type=seconds, default=2.0, metavar="S", help="seconds between frames (%(default)s)")
    parser.set_defaults(run=run)


def duration_s(text: str) -> float:
    """Return the seconds of `30m`, `12h` or `7d`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write 30m, 12h or 7d")
    return float(found[1]) * UNITS_S[found[2]]


def frames(text: str) -> int:
    """Return a number of frames, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of frames; write one from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """Return seconds, `2` or `0.5`."""
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write 2 or 0.5")
    return float(text)


def run(args: argparse.Namespace) -> int:
    """Write the dataset; return 1 when there was nothing worth it."""
    settings = load_unlocked(args.config)
    cameras = args.camera or sorted(settings.cameras)
    if unknown := sorted(set(cameras) - set(settings.cameras)):
        raise MediaError(f"no camera {', '.join(unknown)} in {args.config}; there are {', '.join(settings.cameras)}")
    if args.out.exists():
        raise MediaError(f"{args.out} exists already; choose a new folder, so that no labels are overwritten")
    index = open_existing(settings.service.state_dir)
    draft = args.out.with_name(f".{args.out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    now_ns = SystemClock().utc_ns()
    since_ns = now_ns - round(args.since * NS_PER_S)
    try:
        dataset = Dataset(draft)
        with interruptions() as check:
            for camera in cameras:
                source = Source(index, camera, settings.cameras[camera].privacy_masks)
                harvest(source, (since_ns, now_ns), (args.max, round(args.apart * NS_PER_S)), dataset, check)
        dataset.finish()
        if dataset.images:
            draft.rename(args.out)
    finally:
        index.close()
        shutil.rmtree(draft, ignore_errors=True)
    print(report(dataset, args.out))
    return 0 if dataset.images else 1


@contextmanager
def interruptions() -> Iterator[Callable[[], None]]:
    """Give a function that raises KeyboardInterrupt after a Ctrl-C, also one that PyAV's reading has swallowed."""
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if received:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, before)


def report(dataset: Dataset, out: Path) -> str:
    """Return what a person wants to know of a harvest."""
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(dataset.left_out.items())) or "none"
    if not dataset.images:
        return f"Nothing worth labelling was found or is still recorded (left out: {left_out})."
    return f"{len(dataset.images)} pictures, {len(dataset.annotations)} boxes in {out} (left out: {left_out})"


@dataclass
class Dataset:
    """A COCO dataset that grows in a folder."""

    folder: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    _categories: dict[str, int] = field(default_factory=dict)
    _looks: list[tuple[int, Rows]] = field(default_factory=list)

    def add(self, image: Image, frame: StoredFrame, reason: str) -> None:
        """Add a picture with the model's boxes, unless one like it is there."""
        rows = frame.rows[(frame.rows[:, 4] >= PRELABEL_MIN_SCORE) & (frame.rows[:, 5] < len(frame.labels))]
        fingerprint = difference_hash(image)
        shares: Rows = (rows / np.array([*(frame.width, frame.height) * 2, 1, 1])).astype(np.float32)
        alike = (seen for other, seen in self._looks if (fingerprint ^ other).bit_count() <= ALIKE_BITS)
        if any(_covers(shares, seen) for seen in alike):
            self.left_out["alike"] += 1
            return
        self._looks.append((fingerprint, shares))
        for label in frame.labels:  # all that the model knows, for a person may draw what it has missed
            self._categories.setdefault(label, len(self._categories) + 1)
        height, width = image.shape[:2]
        image_id = len(self.images) + 1
        name = f"{frame.camera}-{iso_utc(frame.utc_ns).replace(':', '-')}.jpg"
        save_jpeg(image, self.folder / "images" / name)
        self.images.append(
            {
                "id": image_id,
                "file_name": name,
                "width": width,
                "height": height,
                "date_captured": iso_utc(frame.utc_ns),
                "camera": frame.camera,
                "reason": reason,
            }
        )
        scale = np.array([width / frame.width, height / frame.height] * 2)
        for row in rows:
            self._annotate(image_id, row[:4] * scale, frame.labels[int(row[5])], float(row[4]))

    def _annotate(self, image_id: int, box: Any, label: str, score: float) -> None:
        x1, y1, x2, y2 = (round(float(value), 1) for value in box)
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": self._categories[label],
                "bbox": [x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)],
                "area": round((x2 - x1) * (y2 - y1), 1),
                "iscrowd": 0,
                "score": round(score, 3),
            }
        )

    def finish(self) -> None:
        """Write the annotations."""
        if not self.images:
            return
        categories = [{"id": number, "name": label} for label, number in self._categories.items()]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        (self.folder / "annotations.json").write_text(json.dumps(content, indent=1))


@dataclass(frozen=True)
class Source:
    """A camera, and where it is recorded."""

    index: RecordingIndex
    camera: str
    masks: tuple[Polygon, ...]


def harvest(
    source: Source, span: tuple[int, int], limits: tuple[int, int], dataset: Dataset, check: Callable[[], None]
) -> None:
    """Add the frames of one camera worth labelling; `span` in UTC ns, `limits` = (how many, ns apart)."""
    camera, path = source.camera, source.index.state_dir / "detections.db"
    if not path.is_file():
        raise MediaError(f"{path} is not there; has the daemon run with this configuration?")
    seen = (Seen(frame.utc_ns, frame.rows) for frame in read_frames(path, camera, *span))
    chosen = spread(candidates(seen), *limits)
    for number, candidate in enumerate(chosen, 1):
        check()
        _show_progress(camera, number, len(chosen))
        frame = next(read_frames(path, camera, candidate.utc_ns, candidate.utc_ns + 1), None)
        if frame is None:  # retention was faster
            dataset.left_out["no longer stored"] += 1
            continue
        try:
            image = recorded_frame(source.index, camera, candidate.utc_ns)
        except MediaError:
            dataset.left_out["not recorded"] += 1
            continue
        blacken(image, source.masks)
        dataset.add(image, frame, candidate.reason)


def recorded_frame(index: RecordingIndex, camera: str, utc_ns: int) -> Image:
    """Return the recorded frame of that instant as uint8 [height, width, 3] BGR.

    Raises MediaError when none within MAX_GAP_NS is recorded.
    """
    for segment in reversed(index.segments(camera, utc_ns, utc_ns + 1)):
        reader = SegmentReader(index.state_dir / segment.path)
        packets = list(_around(reader, utc_ns))
        if any(p.is_video and abs(p.utc_ns - utc_ns) <= MAX_GAP_NS for p in packets):
            return decode_nearest(reader.init_segment(), packets, utc_ns)
    raise MediaError(f"{camera}: nothing recorded at {iso_utc(utc_ns)}")


def _around(reader: SegmentReader, utc_ns: int) -> Iterator[TimedPacket]:
    for packet in reader.packets(utc_ns):
        if packet.utc_ns > utc_ns + REORDER_NS:
            return
        yield packet


def _covers(left: Rows, right: Rows) -> bool:
    """Tell whether every box of either has one alike in the other; none is alike to none."""
    return all(has_alike(right, row) for row in left) and all(has_alike(left, row) for row in right)


def difference_hash(image: Image) -> int:
    """Return 64 bits: whether each cell of a 9 x 8 grey thumbnail is darker than its right neighbour."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _show_progress(camera: str, number: int, total: int) -> None:
    """Say on a terminal how far it is."""
    if sys.stderr.isatty():
        print(f"\r{camera}: {number}/{total}", end="\n" if number == total else "", file=sys.stderr, flush=True)
