"""Files that get their name when they are whole, also over a power cut: written beside it, flushed, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the draft to write; at the end it replaces `path` in one step, after an error it is gone.

    Raises OSError when the disk does not take it.
    """
    draft = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave the name with nothing behind it
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
