"""Makes index and files agree after any kill, and proves that they do.

`reconcile` is the recorder's first act; `disagreements` is what `leptond doctor` prints. The files are the truth: a
segment says itself whose it is and where it begins, so even a lost index is built again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..clock import NS_PER_S
from ..errors import MediaError
from .recording_index import RECORDINGS_NAME, Kind, MediaFile, RecordingIndex
from .segment_reader import SegmentReader

MEDIA_NAME: Final = "media"  # clips and snapshots of events, in a folder a camera
_SUFFIXES: Final = (".mp4", ".jpg", ".part")


REMEDY: Final = "the recorder puts it right when it starts"


@dataclass
class Repairs:
    """What `reconcile` put right."""

    rows_removed: int = 0  # their files were gone
    files_indexed: int = 0  # they had no row
    segments_closed: int = 0  # their writer was killed
    drafts_removed: int = 0
    unreadable: int = 0  # left alone; `leptond doctor` names them


@dataclass(frozen=True)
class Disagreement:
    """A file, or its row, that does not match the other."""

    path: str
    problem: str
    remedy: str


def reconcile(index: RecordingIndex, beat: Callable[[], object]) -> Repairs:
    """Put every disagreement right; `beat` is called between files, for there may be many.

    Raises MediaError when the index cannot be read or written.
    """
    repairs = Repairs()
    known = set()
    for row in index.all():
        beat()
        known.add(row.path)
        _check_row(index, row, repairs)
    for path in _files(index.state_dir):
        beat()
        if path.endswith(".part"):
            (index.state_dir / path).unlink(missing_ok=True)
            repairs.drafts_removed += 1
        elif path not in known:
            _adopt(index, path, repairs)
    return repairs


def settle_segment(index: RecordingIndex, path: str) -> bool:
    """Index a segment whose writer is no more by what the file holds; remove it when it holds nothing.

    Returns False, and leaves the file alone, when it cannot be read as a segment. Raises MediaError for the index.
    """
    file = index.state_dir / path
    try:
        reader = SegmentReader(file)
        end_utc_ns = reader.end_utc_ns()
    except MediaError:
        if not _is_headless(file):
            return False
        file.unlink(missing_ok=True)
        index.remove(path)
        return True
    if reader.is_empty:
        file.unlink(missing_ok=True)
        index.remove(path)
        return True
    note = reader.note
    os.truncate(file, reader.whole_bytes)
    index.put(
        MediaFile(path, "segment", note.camera, note.start_utc_ns, end_utc_ns, reader.whole_bytes, reader.codec, True)
    )
    return True


def _is_headless(file: Path) -> bool:
    """Tell whether the writer was killed before the first byte."""
    return file.exists() and file.stat().st_size == 0


def _check_row(index: RecordingIndex, row: MediaFile, repairs: Repairs) -> None:
    file = index.state_dir / row.path
    try:
        size_bytes = file.stat().st_size
    except OSError:
        index.remove(row.path)
        repairs.rows_removed += 1
        return
    if size_bytes == 0 and row.kind != "segment":
        file.unlink(missing_ok=True)  # a power cut left the name, and nothing behind it
        index.remove(row.path)
        repairs.rows_removed += 1
        return
    if row.complete and size_bytes == row.size_bytes:
        return
    if row.kind == "segment":
        settled = settle_segment(index, row.path)
        repairs.segments_closed += settled
        repairs.unreadable += not settled
    else:
        # Clips and snapshots get their name when they are whole.
        index.put(replace(row, size_bytes=size_bytes, complete=True))
        repairs.files_indexed += 1


def _adopt(index: RecordingIndex, path: str, repairs: Repairs) -> None:
    if path.startswith(f"{RECORDINGS_NAME}/"):
        settled = settle_segment(index, path)
        repairs.files_indexed += settled
        repairs.unreadable += not settled
        return
    stat = (index.state_dir / path).stat()
    kind: Kind = "clip" if path.endswith(".mp4") else "snapshot"
    utc_ns = int(stat.st_mtime * NS_PER_S)
    index.put(MediaFile(path, kind, Path(path).parts[1], utc_ns, utc_ns, stat.st_size, "", True))
    repairs.files_indexed += 1


def _files(state_dir: Path) -> Iterator[str]:
    """Yield our files, drafts included, relative to the state directory."""
    for top in (RECORDINGS_NAME, MEDIA_NAME):
        for folder, _, names in os.walk(state_dir / top):
            for name in sorted(names):
                path = (Path(folder) / name).relative_to(state_dir)
                if path.suffix in _SUFFIXES and len(path.parts) > 2:
                    yield str(path)


def disagreements(index: RecordingIndex) -> list[Disagreement]:
    """Return where index and files differ, changing neither; what is being written is no disagreement.

    May run beside the recorder. Raises MediaError when the index cannot be read.
    """
    rows = {row.path: row for row in index.all()}
    found = [problem for row in rows.values() if (problem := _problem(index, row))]
    unknown = (path for path in _files(index.state_dir) if path not in rows and not path.endswith(".part"))
    return found + [
        Disagreement(path, "a file that the index does not know", REMEDY)
        for path in unknown
        if index.get(path) is None  # else the recorder has just begun it
    ]


def _problem(index: RecordingIndex, row: MediaFile) -> Disagreement | None:
    file = index.state_dir / row.path
    try:
        size_bytes = file.stat().st_size
    except OSError:
        if index.get(row.path) is None or (not row.complete and row.kind != "segment"):
            return None  # retention has just taken it, or it is being made
        return Disagreement(row.path, "in the index, but there is no file", REMEDY)
    if row.complete and size_bytes != row.size_bytes:
        return Disagreement(row.path, f"has {size_bytes} bytes, the index says {row.size_bytes}", REMEDY)
    if row.kind != "segment":
        return None
    try:
        SegmentReader(file)
    except MediaError as exc:
        return Disagreement(row.path, f"not playable: {exc}", "look at the file; remove it if it is of no use")
    return None
