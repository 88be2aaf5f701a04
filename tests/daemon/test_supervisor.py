"""The whole process chain, run as its user runs it; children are killed, hung and reloaded for real."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from daemon.supervision.control import ask

from .children import wait_for
from .running import RunningDaemon, lamp_clip

RULES = '[[rules]]\nname = "lamps"\nlabels = ["lamp"]\n'


def exists(pid: int) -> bool:
    """Return whether a process lives; one that only waits to be reaped by a far parent does not count."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return a video file that a camera plays in a loop."""
    return lamp_clip(tmp_path / "clip.mp4")


def test_a_daemon_starts_becomes_ready_sees_and_stops_in_order(tmp_path: Path, clip: Path) -> None:
    """Systemd hears READY and STOPPING; frames come through; SIGTERM leaves no process, no socket, exit code 0."""
    with RunningDaemon(tmp_path, RULES, {"gate": f'url = "{clip}"', "dead": 'url = "rtsp://127.0.0.1:1/x"'}) as daemon:
        wait_for(lambda: daemon.notified("READY=1"), "READY=1", 120)
        daemon.wait_until_seen("gate")
        status = daemon.status()
        assert status["ready"] is True
        assert status["detector"]["worker"]["provider"] == "CPUExecutionProvider"
        assert [process["name"] for process in status["processes"]][:3] == ["recorder", "events", "worker"]
        assert daemon.camera("dead")["state"] == "no_signal"
        assert daemon.camera("dead")["reason"] == "refused"
        pids = daemon.pids()

        assert daemon.stop() == 0

        assert daemon.notified("STOPPING=1")
        assert not any(exists(pid) for pid in pids.values())
        assert list(daemon.runtime_dir.glob("*.sock")) == []
        stopped = [line["child"] for line in daemon.logged("process_stopped")]
        assert stopped[-3:] == ["worker", "events", "recorder"]
        assert daemon.logged("process_ended") == []


def test_every_child_comes_back_when_it_is_killed_or_hangs(tmp_path: Path, clip: Path) -> None:
    """SIGKILL and SIGSTOP of each process in turn: a new one takes its place, and the camera is seen again."""
    with RunningDaemon(tmp_path, RULES, {"gate": f'url = "{clip}"'}) as daemon:
        daemon.wait_until_seen("gate")
        for name in ("recorder", "events", "worker", "camera gate"):
            pids = daemon.pids()

            os.kill(pids[name], signal.SIGKILL)

            daemon.wait_for_another(name, pids[name])
            others = {other: pid for other, pid in daemon.pids().items() if other != name}
            assert others == {other: pid for other, pid in pids.items() if other != name}
        hung = daemon.pids()["events"]

        os.kill(hung, signal.SIGSTOP)

        daemon.wait_for_another("events", hung)
        processes = {process["name"]: process for process in daemon.status()["processes"]}
        assert processes["events"]["last_end"] == "hung"
        assert processes["events"]["restarts"] == 2
        daemon.wait_until_seen("gate")
        assert daemon.stop() == 0


def test_a_reload_touches_only_what_changed(tmp_path: Path, clip: Path) -> None:
    """A camera that is added starts; the others keep their processes; a file with mistakes changes nothing.

    A model that turns out to be none takes the reload back, also when asked twice, and nothing but the worker notices.
    """
    gate, yard = f'url = "{clip}"', f'url = "{clip}"\ndetect_fps = 2'
    with RunningDaemon(tmp_path, RULES, {"gate": gate}) as daemon:
        daemon.wait_until_seen("gate")
        before = daemon.pids()

        daemon.write_config(RULES, {"gate": gate, "yard": yard})
        daemon.signal(signal.SIGHUP)
        daemon.wait_until_seen("yard")
        after = daemon.pids()
        assert {name: after[name] for name in before} == before

        daemon.write_config("[nonsense]", {"gate": gate})
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.logged("reload_refused"), "the refusal")
        assert daemon.logged("reload_refused")[0]["mistakes"][0].startswith("nonsense: unknown key")
        assert daemon.pids() == after

        good, daemon.model = daemon.model, clip
        daemon.write_config(RULES, {"gate": gate, "yard": yard})
        reloads = len(daemon.logged("reloaded"))
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: len(daemon.logged("reloaded")) > reloads, "the reload")
        daemon.signal(signal.SIGHUP)  # an impatient operator: what this reload replaces has not proved itself
        daemon.wait_for_another("worker", after["worker"])
        assert len(daemon.logged("reload_undone")) == 1
        assert any("taken back" in problem for problem in daemon.status()["problems"])
        after["worker"] = daemon.pids()["worker"]
        assert daemon.pids() == after

        daemon.model = good
        daemon.write_config(RULES, {"yard": yard})
        assert ask(daemon.runtime_dir, "reload") == {"ok": True}
        wait_for(lambda: not exists(after["camera gate"]), "the reader of the camera that went")
        rest = {name: pid for name, pid in after.items() if name != "camera gate"}
        wait_for(lambda: daemon.pids() == rest, "the rest as it was")


def test_metrics_move_to_other_networks_on_the_same_port(tmp_path: Path) -> None:
    """A reload may widen the address; one that cannot be had is refused, and the old one goes on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RunningDaemon(tmp_path) as daemon:

        def listen_on(address: str) -> None:
            text = daemon.config.read_text()
            daemon.config.write_text(re.sub(r"(\[metrics\]\nlisten = ).*", rf'\1"{address}"', text))
            daemon.signal(signal.SIGHUP)

        wait_for(daemon.status, "the daemon")
        listen_on(f"127.0.0.1:{port}")
        wait_for(lambda: len(daemon.logged("metrics_listening")) == 1, "the first address")
        listen_on(f"0.0.0.0:{port}")
        wait_for(lambda: len(daemon.logged("metrics_listening")) == 2, "the same port on all networks")
        listen_on(f"192.0.2.1:{port}")
        wait_for(lambda: daemon.logged("reload_refused"), "the refusal")

        with socket.create_connection(("127.0.0.1", port), timeout=30):
            assert daemon.stop() == 0


def test_nothing_survives_a_killed_supervisor_and_the_next_one_starts(tmp_path: Path, clip: Path) -> None:
    """Children notice that their parent is gone; the next daemon waits for them and sees again."""
    with RunningDaemon(tmp_path, RULES, {"gate": f'url = "{clip}"'}) as daemon:
        daemon.wait_until_seen("gate")
        pids = daemon.pids()

        daemon.signal(signal.SIGKILL)
        daemon.wait()
        daemon.start()

        daemon.wait_until_seen("gate")
        assert not any(exists(pid) for pid in pids.values())


def test_a_model_that_is_none_ends_the_daemon_with_code_3(tmp_path: Path) -> None:
    """The worker's fatal error is the daemon's: a restart could not help."""
    broken = RunningDaemon(tmp_path)
    broken.model.write_bytes(b"no model")

    with broken as daemon:
        assert daemon.wait() == 3
        (failed,) = [line for line in daemon.logged("process_failed") if line["process"] == "worker"]
        assert str(daemon.model) in failed["error"]


def test_a_second_daemon_in_the_same_folders_is_refused(tmp_path: Path) -> None:
    """It ends with code 2 and names the first."""
    with RunningDaemon(tmp_path) as daemon:
        wait_for(daemon.status, "the first daemon")
        first = daemon.process
        daemon.start()

        assert daemon.wait() == 2
        assert f"another leptond (process {first.pid})" in daemon.log.read_text()
        daemon.process = first
