"""Restarts with real processes in simulated time."""

import time
from pathlib import Path
from typing import Any, cast

from daemon.config.settings import Settings
from daemon.supervision.nursery import HUNG_S, Nursery
from daemon.supervision.process_table import ProcessSpec
from daemon.supervision.restarts import CRASH_LOOP_ENDS

from .children import wait_for


def a_spec(tmp_path: Path, role: str, name: str) -> ProcessSpec:
    """Return a process; one of an unknown role ends at once with exit code 1."""
    settings = Settings.model_validate({"service": {"state_dir": str(tmp_path), "runtime_dir": str(tmp_path)}})
    return ProcessSpec(cast("Any", role), name, settings)


def wait_for_end(nursery: Nursery, now_s: float) -> None:
    """Look, with the clock standing, until no process is left."""

    def ended() -> bool:
        nursery.look(now_s)
        return not nursery.pids()

    wait_for(ended, "the process's end")


def test_a_process_that_keeps_ending_is_started_again_and_again_and_called_a_crash_loop(tmp_path: Path) -> None:
    """It is never given up; from the fifth end on its report says that it keeps ending."""
    nursery = Nursery((a_spec(tmp_path, "nonsense", "camera gate"),), ())
    now_s = 0.0

    for life in range(1, CRASH_LOOP_ENDS + 1):
        now_s += 100.0
        nursery.look(now_s)
        assert nursery.pids().keys() == {"camera gate"}
        wait_for_end(nursery, now_s + 1.0)
        (report,) = nursery.reports(now_s + 1.0)
        assert (report.restarts, report.last_end, report.state) == (life, "crashed", "waiting")
        assert report.crash_loop == (life == CRASH_LOOP_ENDS)

    nursery.look(now_s + 1.1)
    assert nursery.pids() == {}, "it waits for its back-off"


def test_a_fatal_exit_of_a_vital_process_is_the_daemons(tmp_path: Path) -> None:
    """A worker without a model ends with 3, which no restart helps; it is not started again."""
    settings = Settings.model_validate(
        {"service": {"runtime_dir": str(tmp_path)}, "detector": {"model": str(tmp_path / "none.onnx")}}
    )
    nursery = Nursery((ProcessSpec("worker", "worker", settings),), ())

    nursery.look(0.0)
    wait_for_end(nursery, 1.0)

    assert nursery.fatal_exit_code() == 3
    nursery.look(1000.0)
    assert nursery.pids() == {}


def test_silence_is_judged_only_by_a_supervisor_that_was_awake_itself(tmp_path: Path) -> None:
    """After the whole machine stood still every heartbeat is old: each child has its time again before it is killed."""
    nursery = Nursery((a_spec(tmp_path, "events", "events"),), ())
    began_s = time.monotonic()
    nursery.look(began_s)
    wait_for(nursery.is_ready, "the first heartbeat")

    later_s = began_s + 600.0
    for second in range(int(HUNG_S)):
        nursery.look(later_s + second)
        assert nursery.is_ready()
    nursery.look(later_s + HUNG_S)

    wait_for_end(nursery, later_s + HUNG_S)
    (report,) = nursery.reports(later_s)
    assert (report.last_end, report.restarts) == ("hung", 1)
