"""The supervisor: holds the table of processes to the configuration until it is asked to stop.

Its loop takes in stats, answers the control socket, starts again what ended, judges health once a second and tells
systemd. No pixels, no SQLite, no CUDA here: whatever can crash runs in a child.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog
import zmq

from ..clock import NS_PER_S, Clock, SystemClock
from ..config import config
from ..config.settings import Settings
from ..errors import ConfigError
from ..log import configure_logging
from ..messages import HealthReport, ProcessStats
from ..wire import Receiver, Sender, ipc
from .control import Answer, ControlServer
from .health import Health
from .metrics import MetricsEndpoint
from .nursery import Nursery
from .premises import prepare
from .process_table import STOP_ORDER, Role, changes, process_table
from .reporter import Reporter
from .sdnotify import Notifier
from .signals import Signals
from .telemetry import Telemetry

WAIT_MS: Final = 100
STOP_PATIENCE_S: Final = 15.0  # more than any drain and the kill after it
RELOAD_TRIAL_S: Final = 10.0
RELOADS_ON_TRIAL: Final = 8
TICK_NS: Final = NS_PER_S
START_TIMEOUT_EXTENSION_US: Final = 30_000_000

log = structlog.get_logger()


class Supervisor:
    """The loop and its state."""

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self._path, self._environ = path, environ
        self._clock = clock or SystemClock()
        self._settings = config.load(path, environ)
        self._locks = prepare(self._settings.service)
        self._signals = Signals()
        self._notifier = Notifier(environ)
        self._ready = self._stopping = False
        self._next_tick_ns = 0
        # What reloads replaced that are still on trial, newest last.
        self._before_reload: deque[Settings] = deque(maxlen=RELOADS_ON_TRIAL)
        self._reloaded_s = 0.0
        self._table = process_table(self._settings)
        self._nursery = Nursery(self._table, self._locks)
        self._telemetry = Telemetry()
        self._health = Health(self._settings, self._clock.monotonic_ns(), self._clock.utc_ns())
        self._reporter = Reporter(self._settings, self._clock, self._telemetry, self._health, self._nursery)
        runtime_dir = self._settings.service.runtime_dir
        self._stats: Receiver[ProcessStats] = Receiver(ipc(runtime_dir, "stats"), ProcessStats, high_water=10_000)
        self._health_sender: Sender[HealthReport] = Sender(ipc(runtime_dir, "health"), high_water=10, linger_ms=0)
        self._control = ControlServer(
            ipc(runtime_dir, "control"),
            {"status": self._status, "reload": self._ask_reload, "version": self._reporter.version},
        )
        self._metrics = MetricsEndpoint(self._settings.metrics.listen)
        self._poller = zmq.Poller()
        for socket in (self._stats.socket, self._control.socket, self._signals):
            self._poller.register(socket, zmq.POLLIN)

    def run(self) -> int:
        """Supervise until asked to stop, or until an error that no restart can help; return the exit code."""
        self._signals.install()
        log.info("daemon_starting", processes=len(self._table), config=str(self._path))
        while not self._signals.stops_asked and not self._is_beyond_help():
            self._turn()
            if self._signals.reload_asked:
                self._reload()
        return self._stop()

    def _turn(self) -> None:
        self._poller.poll(WAIT_MS)
        self._signals.drain()
        self._receive()
        self._control.answer()
        self._nursery.look(self._now_s())
        if self._clock.monotonic_ns() >= self._next_tick_ns:
            self._next_tick_ns = self._clock.monotonic_ns() + TICK_NS
            self._tick()

    def _receive(self) -> None:
        while (stats := self._stats.receive()) is not None:
            self._telemetry.take(stats, self._now_s())

    def _tick(self) -> None:
        now_ns, utc_ns = self._clock.monotonic_ns(), self._clock.utc_ns()
        self._telemetry.remember(self._now_s())
        self._health.tick(now_ns, utc_ns, self._reporter.detector_now(), self._reporter.readers_now())
        report = self._health.report()
        if report is not None and not self._stopping:  # that readers stop makes no camera down
            self._health_sender.send(report)
        self._metrics.publish(self._reporter.report(ready=self._ready), self._telemetry)
        self._notify()

    def _notify(self) -> None:
        if not self._ready and self._nursery.is_ready():
            self._ready = True
            log.info("daemon_ready")
            self._notifier.notify(READY=1)
        if not self._ready:
            self._notifier.notify(EXTEND_TIMEOUT_USEC=START_TIMEOUT_EXTENSION_US)
        status = "stopping" if self._stopping else self._reporter.one_line(ready=self._ready)
        self._notifier.notify(WATCHDOG=1, STATUS=status)

    # --- reload ---

    def _ask_reload(self) -> Answer:
        config.load(self._path, self._environ)
        self._signals.reload_asked = True
        return {}

    def _reload(self) -> None:
        """Take over the configuration file; with mistakes in it, everything stays as it is."""
        self._signals.reload_asked = False
        before = self._settings
        self._notifier.notify(RELOADING=1, MONOTONIC_USEC=self._clock.monotonic_ns() // 1000)
        try:
            self._take_over(config.load(self._path, self._environ))
        except ConfigError as exc:
            log.error("reload_refused", mistakes=str(exc).splitlines())  # noqa: TRY400 - the text says all
            self._reporter.reload_problem = "the configuration file has mistakes and was not taken over"
        else:
            self._before_reload.append(before)
            self._reloaded_s = self._now_s()
            self._reporter.reload_problem = ""
        self._notifier.notify(READY=1)

    def _is_beyond_help(self) -> bool:
        """Return whether a fatal error ends the daemon; one that a reload brought undoes the reload instead.

        A mistyped model must not end recording.
        """
        if (code := self._nursery.fatal_exit_code()) is not None and self._before_reload:
            log.error("reload_undone", exit_code=code)
            # Impatient operators reload twice: back until the process that could not run gets other settings.
            while self._before_reload and self._nursery.fatal_exit_code() is not None:
                self._take_over(self._before_reload.pop())
            self._reporter.reload_problem = (
                "the configuration file was taken back, for a process could not run with it; the log says why"
            )
        elif self._nursery.is_ready() and self._now_s() - self._reloaded_s > RELOAD_TRIAL_S:
            self._before_reload.clear()
        return self._nursery.fatal_exit_code() is not None

    def _take_over(self, settings: Settings) -> None:
        for key in ("state_dir", "runtime_dir"):
            if getattr(settings.service, key) != getattr(self._settings.service, key):
                raise ConfigError(f"service.{key}: cannot change while the daemon runs; restart it")
        self._move_metrics(settings.metrics.listen)
        configure_logging(settings.service.log_level, settings.service.log_format, process="supervisor")
        table = process_table(settings)
        change = changes(self._table, table)
        self._nursery.apply(change, self._now_s())
        self._telemetry.forget(set(change.stop))
        self._settings, self._table = settings, table
        self._health.configure(settings, self._clock.monotonic_ns(), self._clock.utc_ns())
        self._reporter.settings = settings
        log.info(
            "reloaded",
            stopped=list(change.stop),
            restarted=[spec.name for spec in change.restart],
            told=[spec.name for spec in change.signal],
            started=[spec.name for spec in change.start],
        )

    def _move_metrics(self, listen: str) -> None:
        """Listen elsewhere. Raises ConfigError when that cannot be; then the old place is kept."""
        old = self._settings.metrics.listen
        if listen == old:
            return
        self._metrics.close()  # first, for the new address may be the old port on more networks
        try:
            self._metrics = MetricsEndpoint(listen)
        except ConfigError:
            self._metrics = MetricsEndpoint(old)
            raise

    # --- stop ---

    def _stop(self) -> int:
        """Stop upstream first, so that what is in flight drains; return the exit code."""
        code = self._nursery.fatal_exit_code() or 0
        self._stopping = True
        log.info("daemon_stopping", exit_code=code)
        self._notifier.notify(STOPPING=1)
        self._nursery.start_no_more()
        for role in STOP_ORDER:
            self._stop_role(role)
        self._close()
        log.info("daemon_stopped")
        return code

    def _stop_role(self, role: Role) -> None:
        end_s = self._now_s() + STOP_PATIENCE_S
        self._nursery.stop(role, self._now_s())
        while not self._nursery.is_stopped(role):
            self._turn()
            if self._signals.stops_asked > 1:
                self._nursery.hurry()
            if self._now_s() > end_s:  # killed long ago, and the kernel does not let it go
                log.error("process_abandoned", role=role)
                return

    def _close(self) -> None:
        self._metrics.close()
        self._control.close()
        self._stats.close()
        self._health_sender.close()
        self._notifier.close()
        for socket in self._settings.service.runtime_dir.glob("*.sock"):
            socket.unlink(missing_ok=True)
        for fd in self._locks:
            os.close(fd)

    def _status(self) -> Answer:
        return {"status": msgspec.to_builtins(self._reporter.report(ready=self._ready))}

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / NS_PER_S
