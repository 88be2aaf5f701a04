"""Pictures as a camera: one file, or a folder in the order of its names. For trials of a model and for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.error
import structlog
from av.video.frame import VideoFrame

from ..config.settings import Camera
from ..errors import StreamError
from ..messages import StreamInfo
from .capture import PACE_STEP_S, PICTURE_SUFFIXES, path_of

log = structlog.get_logger()


class Pictures:
    """The pictures of one path, decoded one after the other, `detect_fps` a second unless the pace is fast."""

    def __init__(self, camera: Camera, url: str) -> None:
        """Look for pictures; raises StreamError when there are none that can be read."""
        self._camera = camera
        path = path_of(url)
        try:
            self._paths = (
                sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES) if path.is_dir() else [path]
            )
        except OSError as exc:
            raise StreamError("not_found", f"{path}: {exc.strerror}") from exc
        first = next(filter(None, map(_read, self._paths)), None)
        if first is None:
            raise StreamError("not_found", f"no readable picture at {path}")
        self.info = StreamInfo(codec="picture", width=first.width, height=first.height, fps=None, audio=None)

    def frames(self, stopping: Callable[[], bool]) -> Iterator[VideoFrame]:
        """Yield the pictures, over and over when the camera loops.

        Raises StreamError: `ended` after the last one, `not_found` when none can be read any more.
        """
        due_s = time.monotonic()
        while not stopping():
            count = 0
            for path in self._paths:
                while self._camera.pace == "realtime" and due_s > time.monotonic() and not stopping():
                    time.sleep(min(PACE_STEP_S, max(0.0, due_s - time.monotonic())))
                due_s = max(due_s, time.monotonic() - 1) + 1 / self._camera.detect_fps
                if stopping():
                    return
                if (frame := _read(path)) is not None:
                    count += 1
                    yield frame
            if not count:
                raise StreamError("not_found", "none of the pictures can be read any more")
            if not self._camera.loop:
                break
        raise StreamError("ended", "no more pictures")


def _read(path: Path) -> VideoFrame | None:
    """Return the decoded picture, or None with a warning when it is none."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0), None)
    except av.error.FFmpegError as exc:
        log.warning("picture_unreadable", path=str(path), error=exc.strerror)
        return None
    return frame
