"""The process inventory: which processes a configuration means, in the order in which they start.

| process       | how many    | sees of the settings                          | takes over without restart  |
|---------------|-------------|-----------------------------------------------|-----------------------------|
| recorder      | 1           | recording, rules, cameras without addresses   | all of that                 |
| events        | 1           | alerts, rules, health, cameras w/o addresses  | all of that                 |
| worker        | 1           | detector                                      | nothing                     |
| camera <name> | 1 a camera  | its own camera, with address and password     | nothing                     |

Downstream starts first and stops last, so that what is in flight drains. Pure: settings in, tables out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from ..config.settings import Camera, Recording, Settings

Role = Literal["recorder", "events", "worker", "reader"]

START_ORDER: Final[tuple[Role, ...]] = ("recorder", "events", "worker", "reader")
STOP_ORDER: Final = tuple(reversed(START_ORDER))


@dataclass(frozen=True)
class ProcessSpec:
    """What a process is to be."""

    role: Role
    name: str
    settings: Settings  # its slice
    camera: str = ""  # of a reader
    takes_over: frozenset[str] = frozenset()  # sections whose change it is told of; for any other it restarts

    @property
    def start_grace_s(self) -> float:
        """Return how long it may take to its first heartbeat: a TensorRT engine is built in minutes."""
        return 600.0 if self.role == "worker" else 120.0

    @property
    def drain_s(self) -> float:
        """Return how long it may take to end when asked: the recorder finishes files."""
        return 10.0 if self.role == "recorder" else 5.0

    @property
    def is_vital(self) -> bool:
        """Return whether its fatal error ends the daemon; a camera's never does."""
        return self.role != "reader"


@dataclass(frozen=True)
class Changes:
    """What leads from one table to another; nothing else is touched."""

    stop: tuple[str, ...] = field(default=())
    restart: tuple[ProcessSpec, ...] = field(default=())
    signal: tuple[ProcessSpec, ...] = field(default=())
    start: tuple[ProcessSpec, ...] = field(default=())


def process_table(settings: Settings) -> tuple[ProcessSpec, ...]:
    """Return the processes in start order."""
    return (_recorder(settings), _events(settings), _worker(settings), *_readers(settings))


def changes(old: tuple[ProcessSpec, ...], new: tuple[ProcessSpec, ...]) -> Changes:
    """Return what must happen to the processes of `old` for them to be those of `new`."""
    before = {spec.name: spec for spec in old}
    after = {spec.name for spec in new}
    changed = [spec for spec in new if spec.name in before and spec != before[spec.name]]
    told = [spec for spec in changed if _changed_sections(before[spec.name], spec) <= spec.takes_over]
    return Changes(
        stop=tuple(spec.name for spec in old if spec.name not in after),
        restart=tuple(spec for spec in changed if spec not in told),
        signal=tuple(told),
        start=tuple(spec for spec in new if spec.name not in before),
    )


def _changed_sections(old: ProcessSpec, new: ProcessSpec) -> frozenset[str]:
    names = type(new.settings).model_fields
    return frozenset(name for name in names if getattr(old.settings, name) != getattr(new.settings, name))


def _recorder(settings: Settings) -> ProcessSpec:
    cameras = {name: _without_address(camera) for name, camera in _enabled(settings).items()}
    slice_ = Settings(service=settings.service, recording=settings.recording, rules=settings.rules, cameras=cameras)
    return ProcessSpec("recorder", "recorder", slice_, takes_over=frozenset({"recording", "rules", "cameras"}))


_EVENTS_TAKE_OVER: Final = frozenset({"alerts", "rules", "health", "recording", "cameras"})


def _events(settings: Settings) -> ProcessSpec:
    cameras = {name: _without_address(camera) for name, camera in _enabled(settings).items()}
    slice_ = Settings(
        service=settings.service,
        alerts=settings.alerts,
        recording=settings.recording,
        health=settings.health,
        rules=settings.rules,
        cameras=cameras,
    )
    return ProcessSpec("events", "events", slice_, takes_over=_EVENTS_TAKE_OVER)


def _worker(settings: Settings) -> ProcessSpec:
    return ProcessSpec("worker", "worker", Settings(service=settings.service, detector=settings.detector))


def _readers(settings: Settings) -> list[ProcessSpec]:
    return [_reader(settings, name, camera) for name, camera in _enabled(settings).items()]


def _reader(settings: Settings, name: str, camera: Camera) -> ProcessSpec:
    # Zones are for the rules, and of the recording only whether there is one: their change restarts no reader.
    recording = Recording(mode=settings.recording_of(name).mode)
    camera = camera.model_copy(update={"zones": {}, "recording": recording})
    slice_ = Settings(service=settings.service, cameras={name: camera})
    return ProcessSpec("reader", f"camera {name}", slice_, camera=name)


def _enabled(settings: Settings) -> dict[str, Camera]:
    return {name: camera for name, camera in settings.cameras.items() if camera.enabled}


def _without_address(camera: Camera) -> Camera:
    return camera.model_copy(update={"url": "", "detect_url": "", "username": "", "password": ""})
