"""The simulator as tests and the demo use it: cameras that run in a thread of this process.

A dead camera that comes back is `stop` and a new Simulator on the same port, or `unplug` and `plug` for one of many.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

import structlog

from ..errors import ConfigError
from .media import load_clip
from .server import CameraServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .auth import Credentials

log = structlog.get_logger()

START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10


class Simulator:
    """Looping RTSP cameras, one for each name of `clips`; a file named twice is read once.

    A context manager. `port` 0 lets the system choose; after `start`, `port` and `urls` say what is served. Raises
    ConfigError for a clip that cannot be served or an address that is taken.
    """

    def __init__(
        self,
        clips: Mapping[str, Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: Credentials | None = None,
    ) -> None:
        loaded = {path: load_clip(path) for path in dict.fromkeys(clips.values())}
        self._names = list(clips)
        self._host = host
        self.port = port
        self._server = CameraServer({name: loaded[path] for name, path in clips.items()}, credentials)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._listening: Future[int] = Future()

    @property
    def urls(self) -> dict[str, str]:
        """Address of each camera by name, without credentials."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return {name: f"rtsp://{host}:{self.port}/{name}" for name in self._names}

    def start(self) -> Self:
        """Listen; return once clients can connect."""
        self._thread.start()
        try:
            self.port = self._listening.result(timeout=START_TIMEOUT_S)
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {self._host}:{self.port}: {exc.strerror}; choose another port"
            ) from exc
        return self

    def stop(self) -> None:
        """Cut every client and close the port at once; return when it is done. A second call does nothing."""
        if self._loop is not None and self._thread.is_alive():
            self._call(self._stop_asked.set)
            self._thread.join(STOP_TIMEOUT_S)

    def unplug(self, name: str) -> None:
        """Cut one camera's clients; it is unknown to new ones until `plug`."""
        self._call(lambda: self._server.unplug(name))

    def plug(self, name: str) -> None:
        """Bring an unplugged camera back."""
        self._call(lambda: self._server.plug(name))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _call(self, action: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            port = await self._server.start(self._host, self.port)
        except OSError as exc:
            self._listening.set_exception(exc)
            return
        self._listening.set_result(port)
        await self._stop_asked.wait()
        await self._server.stop()
