"""Files written whole or not at all, into a draft beside the target that is then renamed; models found by name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator


SHIPPED = Path(__file__).resolve().parents[1] / "daemon" / "models"  # the daemon's package data, installed beside us


def model_file(text: str) -> Path:
    """Return the file that a command line means: a path, or the name of a model that the daemon ships."""
    shipped = SHIPPED / f"{text}.onnx"
    return shipped if "/" not in text and not Path(text).exists() and shipped.is_file() else Path(text)


def refuse_overwriting(target: Path, *sources: Path) -> None:
    """Raise LabError when `target` is one of the files that it is made from: they would be lost."""
    for source in sources:
        if target.exists() and source.exists() and target.samefile(source):
            raise LabError(f"--out {target}: would overwrite what it is made from; choose another name")


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; it becomes `target` on success and vanishes on any error or Ctrl-C.

    Raises LabError when the folder cannot be written, or `target` is a folder.
    """
    if target.is_dir():
        raise LabError(f"{target}: is a folder; name a file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as exc:
        raise LabError(f"{target}: cannot write there ({exc.strerror}); choose another place with --out") from exc
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)  # mkstemp makes 0600, which the daemon's own user could not read
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
