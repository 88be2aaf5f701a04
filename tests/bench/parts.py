"""Single parts of the daemon beside the bare library on the same work, in one run: CPU ms each, and the ratio.

python -m tests.bench.parts
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort
import zmq
from av.video.reformatter import VideoReformatter

from daemon.camera.letterbox import Letterbox
from daemon.config.settings import Detector
from daemon.events.journal import Entry, Journal
from daemon.events.tracker import Tracker
from daemon.inference.model import Model, model_path
from daemon.inference.nms import suppress
from daemon.ring import RingReader, RingWriter

PIXELS = (3, 640, 640)
FRAMES = 300


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """Return this process' CPU ms for one call, all threads, the first call not counted."""
    work()
    start_s = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start_s) * 1000 / times


def row(what: str, ours: float, bare: float, beside: str) -> None:
    """Print one line of the table."""
    print(f"{what:<46} {ours:8.3f} ms   {bare:8.3f} ms   {ours / bare:5.2f} x   {beside}")


def letterbox(size: int) -> None:
    """Compare a 720p frame's letterbox with swscale to the same size, which leaves planes and padding undone."""
    noise = np.random.default_rng(0).integers(0, 255, (1280 * 720 * 3 // 2 // 1280, 1280), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, "yuv420p")
    ours, out = Letterbox(size, size, "letterbox"), np.zeros((3, size, size), np.uint8)
    reformatter, height = VideoReformatter(), size * 720 // 1280
    row(
        f"letterbox 1280x720 to {size}x{size}, planar RGB",
        cpu_ms(lambda: ours.write(frame, out), FRAMES),
        cpu_ms(lambda: reformatter.reformat(frame, size, height, "rgb24").to_ndarray(), FRAMES),
        f"swscale bicubic to {size}x{height}, packed",
    )


def tracker(objects: int) -> None:
    """Say what an update costs."""
    random = np.random.default_rng(1)
    place = random.uniform(0, 900, (objects, 2))
    subject, now_ns = Tracker(), 0

    def update() -> None:
        nonlocal now_ns
        now_ns += 100_000_000
        corner = place + random.normal(0, 1, place.shape)
        rows = np.hstack([corner, corner + np.array([40, 90]), np.full((objects, 1), 0.9), np.zeros((objects, 1))])
        subject.update(now_ns, rows.astype(np.float32))

    print(f"{f'tracker update, {objects} objects':<46} {cpu_ms(update, FRAMES):8.3f} ms")


def suppression() -> None:
    """Say what suppression of a full top-K costs."""
    random = np.random.default_rng(2)
    corner = random.uniform(0, 500, (300, 2))
    scores = np.sort(random.uniform(0.1, 1, 300))[::-1, None]
    rows = np.hstack([corner, corner + 60, scores, random.integers(0, 3, (300, 1))]).astype(np.float32)
    print(f"{'suppression of 300 rows':<46} {cpu_ms(lambda: suppress(rows, 0.65), FRAMES):8.3f} ms")


def journal(folder: Path) -> None:
    """Compare a committed entry with a bare INSERT of the same bytes, as durable; wall time, for it waits."""
    ours, payload = Journal(folder / "journal.db"), b"x" * 900
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    bare.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, p BLOB)")

    def wall_ms(work: Callable[[], object]) -> float:
        times = []
        for _ in range(200):
            start_s = time.perf_counter()
            work()
            times.append((time.perf_counter() - start_s) * 1000)
        return float(np.median(times))

    row(
        "journal: one entry committed (median, wall)",
        wall_ms(lambda: ours.append([Entry(ours.last_seq + 1, 0, "alert.gate.person", payload)])),
        wall_ms(lambda: bare.execute("INSERT INTO t (p) VALUES (?)", (payload,))),
        "sqlite3 INSERT, WAL, FULL",
    )
    ours.close()
    bare.close()


def model() -> None:
    """Compare the daemon's run of the shipped model with the bare session."""
    path = model_path("lepton-nano")
    ours = Model(Detector(model=str(path), device="cpu"), path.parent)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    bare = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = np.full((1, 3, ours.contract.height, ours.contract.width), 114, np.uint8)
    row(
        "lepton-nano, one picture",
        cpu_ms(lambda: ours.run(image), 100),
        cpu_ms(lambda: bare.run(None, {"images": image}), 100),
        "bare session",
    )


def _receive_slots(endpoint: str, ready: multiprocessing.synchronize.Event, result: multiprocessing.Queue) -> None:
    from daemon.messages import Frame
    from daemon.wire import FrameServer

    server, rings, out = FrameServer([endpoint], Frame), RingReader(), np.empty(PIXELS, np.uint8)
    ready.set()
    seen, start_s = 0, time.process_time()
    while seen < FRAMES:
        server.socket.poll(1000)
        while (got := server.receive()) is not None:
            rings.copy_into(got[1].slot, out)
            seen += 1
    result.put((time.process_time() - start_s) * 1000 / FRAMES)


def _receive_pixels(endpoint: str, ready: multiprocessing.synchronize.Event, result: multiprocessing.Queue) -> None:
    socket, out = zmq.Context.instance().socket(zmq.PULL), np.empty(PIXELS, np.uint8)
    socket.bind(endpoint)
    ready.set()
    start_s = time.process_time()
    for _ in range(FRAMES):
        np.copyto(out.ravel(), np.frombuffer(socket.recv(copy=False).buffer, np.uint8))
    result.put((time.process_time() - start_s) * 1000 / FRAMES)


def frame_plane(folder: Path) -> None:
    """Compare a slot and a descriptor with the pixels over ZeroMQ, both sides' CPU, between two processes."""
    ours = _both_sides(f"ipc://{folder}/slots", _receive_slots, _send_slots)
    bare = _both_sides(f"ipc://{folder}/pixels", _receive_pixels, _send_pixels)
    row("frame 640x640x3 to another process, both sides", ours, bare, "pixels over ZeroMQ ipc")


def _both_sides(endpoint: str, receive: Callable[..., None], send: Callable[[str], float]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, result = context.Event(), context.Queue()
    process = context.Process(target=receive, args=(endpoint, ready, result))
    process.start()
    ready.wait(60)
    sender_ms = send(endpoint)
    total = sender_ms + result.get(timeout=60)
    process.join()
    return float(total)


def _send_slots(endpoint: str) -> float:
    from daemon.messages import Frame, FromWorker
    from daemon.wire import FrameClient

    client, ring = FrameClient(endpoint, "bench", FromWorker), RingWriter(3, int(np.prod(PIXELS)))
    pixels, start_s = np.full(int(np.prod(PIXELS)), 7, np.uint8), time.process_time()
    for sequence in range(FRAMES):
        index = sequence % 3
        np.copyto(ring.begin(index), pixels)
        ring.commit(index)
        now_ns = time.monotonic_ns()
        client.send(
            Frame(
                camera="bench",
                sequence=sequence,
                captured_ns=now_ns,
                decoded_ns=now_ns,
                sent_ns=now_ns,
                source_width=1280,
                source_height=720,
                pts_s=None,
                slot=ring.ref(index),
            )
        )
        time.sleep(0.004)  # as frames come, so that no slot is overwritten before it is read
    return (time.process_time() - start_s) * 1000 / FRAMES


def _send_pixels(endpoint: str) -> float:
    socket = zmq.Context.instance().socket(zmq.PUSH)
    socket.connect(endpoint)
    pixels, start_s = np.full(int(np.prod(PIXELS)), 7, np.uint8), time.process_time()
    for _ in range(FRAMES):
        socket.send(pixels.tobytes())
        time.sleep(0.004)
    return (time.process_time() - start_s) * 1000 / FRAMES


def main() -> None:
    """Measure all and print the table."""
    print(f"{os.cpu_count()} cores; ONNX Runtime {ort.__version__}, PyAV {av.__version__}, CPU time unless said\n")
    with tempfile.TemporaryDirectory(prefix="lb") as name:
        letterbox(416)
        letterbox(640)
        frame_plane(Path(name))
        journal(Path(name))
        model()
        for objects in (3, 20, 50):
            tracker(objects)
        suppression()


if __name__ == "__main__":
    main()
