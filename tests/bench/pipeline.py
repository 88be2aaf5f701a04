"""What the daemon costs beside the bare libraries: CPU a frame and latency, in one run on one machine.

    python -m tests.bench.pipeline --model yolox_nano.onnx --clip clip_720p25.mp4 --cameras 4 --seconds 30

Bare loops first: PyAV decoding the clip, ONNX Runtime running the model on one picture. Then the daemon, every frame of
every camera wanted, with the cameras served by `leptond simulate` (whose own CPU is not counted).
Without --clip the demo's scene is rendered; without --model the shipped one runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime as ort

from daemon.inference.model import model_path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def bare_decode_ms(clip: Path) -> float:
    """Return CPU ms a frame of decoding the clip once, one thread."""
    frames, start_s = 0, time.process_time()
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            frames += 1
    return (time.process_time() - start_s) * 1000 / frames


def bare_inference_ms(model: Path, runs: int = 200) -> float:
    """Return CPU ms a picture of the bare session, batch 1, all cores, no spinning."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _, channels, height, width = session.get_inputs()[0].shape
    picture = np.random.default_rng(0).integers(0, 255, (1, channels, height, width), np.uint8)
    session.run(None, {"images": picture})
    start_s = time.process_time()
    for _ in range(runs):
        session.run(None, {"images": picture})
    return (time.process_time() - start_s) * 1000 / runs


def tree_of(root: int) -> list[int]:
    """Return the pids of a process and all that came from it."""
    pids, found = [root], []
    while pids:
        pid = pids.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += [int(child) for child in task.read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Return the proportional memory of a process in MB of 10**6."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def title(pid: int) -> str:
    """Return a process' title."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()[:40]


def write_config(folder: Path, urls: list[str], model: Path, record: str) -> Path:
    """Write a configuration that wants every frame of every camera."""
    lines = [
        f'[service]\nstate_dir = "{folder}/state"\nruntime_dir = "{folder}/run"\nlog_level = "warning"',
        f'[detector]\nmodel = "{model}"\ndevice = "cpu"',
        f'[alerts]\npublish = "ipc://{folder}/pub"\nreplay = "ipc://{folder}/rep"',
        f'[recording]\nmode = "{record}"\nmin_free_gb = 0',
        '[metrics]\nlisten = ""',
        '[[rules]]\nname = "anyone"\nlabels = ["person"]',
        *(f'[cameras.cam{n}]\nurl = "{url}"\ndetect_fps = 120' for n, url in enumerate(urls)),
    ]
    path = folder / "config.toml"
    path.write_text("\n".join(lines))
    return path


def status(config: Path) -> dict[str, Any]:
    """Return what `leptond status --json` says."""
    command = [sys.executable, "-m", "daemon.cli", "status", "--json", "--config", str(config)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


def inferred(report: dict[str, Any]) -> float:
    """Return the frames inferred so far, all cameras."""
    return sum(camera["inferred"] for camera in report["cameras"])


def wait_until_all_seen(config: Path, deadline_s: float = 90) -> None:
    """Wait until every camera is seen and inferred."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        try:
            cameras = status(config)["cameras"]
        except subprocess.CalledProcessError:
            cameras = []
        if cameras and all(camera["state"] == "seen" and camera["inferred"] for camera in cameras):
            return
        time.sleep(0.5)
    raise SystemExit("the cameras did not come up; run the configuration by hand")


def measure(config: Path, daemon: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """Let it run for `seconds` and return CPU a frame, rates and latencies."""
    wait_until_all_seen(config)
    time.sleep(3)  # a steady state, not a state to wait for
    before, pids = status(config), tree_of(daemon.pid)
    start_s, used_s = time.monotonic(), {pid: cpu_s(pid) for pid in pids}
    time.sleep(seconds)
    wall_s = time.monotonic() - start_s
    spent = {pid: cpu_s(pid) - used_s[pid] for pid in pids}
    after = status(config)
    frames = inferred(after) - inferred(before)
    for pid in pids:
        print(f"  {title(pid):<40} {spent[pid] / wall_s * 100:5.1f} % CPU  {rss_mb(pid):6.1f} MB")
    return {
        "cpu_ms": sum(spent.values()) * 1000 / frames,
        "fps": frames / wall_s,
        "memory_mb": sum(rss_mb(pid) for pid in pids),
        "cameras": after["cameras"],
        "latencies": after["latencies"],
    }


def run_daemon(arguments: argparse.Namespace, clip: Path, model: Path, folder: Path) -> dict[str, Any]:
    """Start simulator and daemon, measure, stop both."""
    simulate = [sys.executable, "-m", "daemon.cli", "simulate", str(clip), "--name", "cam", "--port", "0"]
    simulate += ["--repeat", str(arguments.cameras)]
    with subprocess.Popen(simulate, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        urls = [simulator.stdout.readline().strip() for _ in range(arguments.cameras)]
        config = write_config(folder, urls, model, arguments.record)
        with subprocess.Popen([sys.executable, "-m", "daemon.cli", "run", "--config", str(config)]) as daemon:
            try:
                return measure(config, daemon, arguments.seconds)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(60)
                simulator.send_signal(signal.SIGTERM)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--model", default="lepton-nano")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--record", choices=["continuous", "events", "off"], default="continuous")
    arguments = parser.parse_args()
    model = model_path(arguments.model).resolve()
    with tempfile.TemporaryDirectory(prefix="lb") as name:
        folder, clip = Path(name), arguments.clip
        if clip is None:
            from daemon.simulator.scene import write_scene

            clip = folder / "scene.mp4"
            write_scene(clip, seconds=20, fps=25)
        decode_ms, inference_ms = bare_decode_ms(clip), bare_inference_ms(model)
        result = run_daemon(arguments, clip.resolve(), model, folder)
    bare_ms = decode_ms + inference_ms
    print(f"bare decode     {decode_ms:6.2f} ms CPU a frame\nbare inference  {inference_ms:6.2f} ms CPU a frame")
    print(f"daemon          {result['cpu_ms']:6.2f} ms CPU an inferred frame = {result['cpu_ms'] / bare_ms:.2f} x bare")
    print(f"                {result['fps']:6.1f} frames/s inferred, {result['memory_mb']:.0f} MB")
    for latency in result["latencies"]:
        rounded = [round(latency[key], 1) for key in ("p50_ms", "p95_ms", "p99_ms")]
        print(f"  latency {latency['name']:<22} {latency['camera']:<6} p50, p95, p99 = {rounded} ms")
    for camera in result["cameras"]:
        print(f"  {camera['name']}: {camera['fps_in']:.1f} frames/s in, dropped in the last minute {camera['dropped']}")


if __name__ == "__main__":
    main()
