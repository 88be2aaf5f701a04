"""Keeps the processes of a process table alive: starts them, sees how they end, starts them again, stops them.

Nothing here waits: `look` is called by the supervisor's loop several times a second and does what is due.
"""

from __future__ import annotations

import random
from typing import Final, Literal

import structlog

from ..errors import ConfigError, DeviceError, ModelError
from .children import ChildProcess, settings_bytes
from .process_table import Changes, ProcessSpec, Role
from .report import ProcessReport
from .restarts import RestartPolicy

HUNG_S: Final = 5.0  # a loop comes round every 0.2 s
FATAL_EXIT_CODES: Final = frozenset(error.exit_code for error in (ConfigError, ModelError, DeviceError))
UNSOUND_EXIT_CODE: Final = 5

EndReason = Literal["", "crashed", "killed", "hung", "unsound", "ended"]

log = structlog.get_logger()


class Ward:
    """One process of the table through all its lives."""

    def __init__(self, spec: ProcessSpec, lock_fds: tuple[int, ...]) -> None:
        self.spec = spec
        self.wanted = True
        self.restarts = 0
        self.last_end: EndReason = ""
        self.fatal_exit_code: int | None = None
        self._lock_fds = lock_fds
        self._policy = RestartPolicy(random.random)
        self._child: ChildProcess | None = None
        self._started_s = 0.0
        self._start_at_s = 0.0
        self._drain_until_s: float | None = None  # while it was asked to end
        self._killed = False  # by us

    @property
    def is_gone(self) -> bool:
        """Return whether no process is left."""
        return self._child is None

    def is_beating(self) -> bool:
        """Return whether its loop has come round at least once in this life, and it is not asked to end."""
        return self._child is not None and self._drain_until_s is None and self._child.heartbeat.last_s() > 0

    def pid(self) -> int | None:
        """Return the process id of the present life."""
        return None if self._child is None else self._child.pid

    def look(self, now_s: float, *, judge: bool) -> None:
        """Do what is due; `judge` False: whoever looks was late himself, so old heartbeats say nothing."""
        if self._child is not None:
            self._child.tell()
        if self._child is None:
            if self.wanted and now_s >= self._start_at_s:
                self._start(now_s)
        elif (code := self._child.exit_code()) is not None:
            self._ended(self._child, code, now_s)
        elif self._killed:
            return  # by now it is the kernel's
        elif self._drain_until_s is not None:
            if now_s >= self._drain_until_s:
                self._kill(self._child, "not_drained")
        elif judge and self._is_hung(self._child, now_s):
            self._kill(self._child, "hung")

    def replace(self, spec: ProcessSpec, now_s: float) -> None:
        """Let the process end and start again as `spec`, whatever was fatal to it before."""
        self.spec, self.wanted, self.fatal_exit_code = spec, True, None
        self._start_at_s = now_s
        self._drain(now_s)

    def reload(self, spec: ProcessSpec) -> None:
        """Let the process take over its new settings."""
        self.spec = spec
        if self._child is not None:
            self._child.reload(settings_bytes(spec.settings))

    def stop(self, now_s: float) -> None:
        """Let the process drain and end for good."""
        self.wanted = False
        self._drain(now_s)

    def hurry(self) -> None:
        """Wait no longer for it to drain."""
        if self._drain_until_s is not None:
            self._drain_until_s = 0.0

    def report(self, now_s: float) -> ProcessReport:
        """Return how it is."""
        child = self._child
        last_s = child.heartbeat.last_s() if child else 0.0
        lives_s = now_s - self._started_s if child else None
        return ProcessReport(
            name=self.spec.name,
            role=self.spec.role,
            state="waiting" if child is None else "running" if last_s else "starting",
            pid=self.pid(),
            restarts=self.restarts,
            uptime_s=lives_s,
            heartbeat_age_s=now_s - last_s if last_s else None,
            crash_loop=self._policy.is_crash_loop(lives_s),
            last_end=self.last_end,
        )

    def _start(self, now_s: float) -> None:
        spec = self.spec
        try:
            self._child = ChildProcess(spec.role, spec.name, settings_bytes(spec.settings), self._lock_fds)
        except OSError as exc:  # no memory, no process, no file descriptor: others may give theirs back
            delay_s = self._policy.delay_s(0.0)
            self._start_at_s = now_s + delay_s
            log.error("process_not_started", child=spec.name, error=str(exc), retry_in_s=round(delay_s, 2))  # noqa: TRY400
            return
        self._started_s = now_s
        log.info("process_started", child=spec.name, pid=self._child.pid)

    def _kill(self, child: ChildProcess, reason: str) -> None:
        log.error("process_killed", child=self.spec.name, pid=child.pid, reason=reason)
        self._killed = True
        child.kill()

    def _drain(self, now_s: float) -> None:
        if self._child is not None:
            self._child.terminate()
            self._drain_until_s = now_s + self.spec.drain_s

    def _is_hung(self, child: ChildProcess, now_s: float) -> bool:
        last_s = child.heartbeat.last_s()
        if last_s == 0:
            return now_s - self._started_s > self.spec.start_grace_s
        return now_s - last_s > HUNG_S

    def _ended(self, child: ChildProcess, code: int, now_s: float) -> None:
        child.close()
        asked, killed = self._drain_until_s is not None, self._killed
        self._child, self._drain_until_s, self._killed = None, None, False
        if asked:
            log.info("process_stopped", child=self.spec.name, exit_code=code)
            return
        self.last_end = _end_reason(code, hung=killed)
        if code in FATAL_EXIT_CODES and self.spec.is_vital:
            self.fatal_exit_code = code
            self.wanted = False
            return
        self.restarts += 1
        delay_s = self._policy.delay_s(now_s - self._started_s)
        self._start_at_s = now_s + delay_s
        log.warning("process_ended", child=self.spec.name, exit_code=code, restart_in_s=round(delay_s, 2))
        if self._policy.is_crash_loop(None):
            log.error("process_crash_loop", child=self.spec.name, ends=self._policy.ends_in_a_row)


def _end_reason(code: int, *, hung: bool) -> EndReason:
    if hung:
        return "hung"
    if code == UNSOUND_EXIT_CODE:
        return "unsound"
    return "killed" if code < 0 else "crashed" if code else "ended"


class Nursery:
    """All processes of the table."""

    def __init__(self, table: tuple[ProcessSpec, ...], lock_fds: tuple[int, ...]) -> None:
        self._lock_fds = lock_fds
        self._wards = {spec.name: Ward(spec, lock_fds) for spec in table}
        self._leaving: list[Ward] = []  # no longer in the table, still draining
        self._looked_s: float | None = None
        self._judge_from_s = 0.0

    def look(self, now_s: float) -> None:
        """Do what is due for every process, in start order."""
        if self._looked_s is not None and now_s - self._looked_s > HUNG_S / 2:
            self._judge_from_s = now_s + HUNG_S  # we stood still, and so may everybody have
        self._looked_s = now_s
        for ward in (*self._wards.values(), *self._leaving):
            ward.look(now_s, judge=now_s >= self._judge_from_s)
        self._leaving = [ward for ward in self._leaving if not ward.is_gone]

    def apply(self, changes: Changes, now_s: float) -> None:
        """Become another table; what did not change is not touched."""
        for name in changes.stop:
            ward = self._wards.pop(name)
            ward.stop(now_s)
            self._leaving.append(ward)
        for spec in changes.restart:
            self._wards[spec.name].replace(spec, now_s)
        for spec in changes.signal:
            self._wards[spec.name].reload(spec)
        for spec in changes.start:
            self._wards[spec.name] = Ward(spec, self._lock_fds)

    def start_no_more(self) -> None:
        """Let what ends from now on stay ended."""
        for ward in self._wards.values():
            ward.wanted = False

    def stop(self, role: Role, now_s: float) -> None:
        """Let the processes of a role drain and end."""
        for ward in self._of_role(role):
            ward.stop(now_s)

    def hurry(self) -> None:
        """Wait no longer for what drains."""
        for ward in (*self._wards.values(), *self._leaving):
            ward.hurry()

    def is_stopped(self, role: Role) -> bool:
        """Return whether no process of the role is left."""
        return all(ward.is_gone for ward in self._of_role(role))

    def fatal_exit_code(self) -> int | None:
        """Return the code with which the whole daemon must end, if so."""
        codes = [ward.fatal_exit_code for ward in self._wards.values() if ward.fatal_exit_code is not None]
        return codes[0] if codes else None

    def is_ready(self) -> bool:
        """Return whether everything but the cameras runs; cameras come and go."""
        return all(ward.is_beating() for ward in self._wards.values() if ward.spec.is_vital)

    def pids(self) -> dict[str, int]:
        """Return name → process id of the processes that live."""
        return {name: pid for name, ward in self._wards.items() if (pid := ward.pid()) is not None}

    def reports(self, now_s: float) -> tuple[ProcessReport, ...]:
        """Return how every process is, in start order."""
        return tuple(ward.report(now_s) for ward in self._wards.values())

    def _of_role(self, role: Role) -> list[Ward]:
        return [ward for ward in (*self._wards.values(), *self._leaving) if ward.spec.role == role]
