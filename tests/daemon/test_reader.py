"""Readers as processes, against a worker's and a recorder's ends of the planes, a real RTSP server, and real files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon.config.settings import Camera, Recording, Service, Settings
from daemon.errors import SlotError
from daemon.messages import (
    CameraStatus,
    Credit,
    Frame,
    FromReader,
    FromStream,
    Hello,
    Packet,
    ProcessStats,
    StreamEnd,
    StreamStart,
    Welcome,
)
from daemon.ring import RingReader
from daemon.simulator.auth import Credentials
from daemon.simulator.simulator import Simulator
from daemon.wire import FrameServer, Receiver, ipc

from .camera_servers import free_port, make_clip
from .camera_servers import server as camera_server
from .children import StartedChild, start_child, wait_for

SIZE = 64
WRONG = "wr0ng-p4ss"


class Peers:
    """The other ends of a reader's sockets: a worker that answers as it is told, a recorder, a supervisor."""

    def __init__(self, runtime_dir: Path) -> None:
        self.runtime_dir = runtime_dir
        self.frames: list[Frame] = []
        self.levels: list[int] = []
        self.packets: list[FromStream] = []
        self.stats: ProcessStats | None = None
        self.hellos = 0
        self.worker_id = "one"
        self.answers_hello = True
        self.outcome: str | None = "inferred"  # None: no credit
        self.states: list[tuple[str, str]] = []
        self._rings = RingReader()
        self._server = FrameServer([ipc(runtime_dir, "frames")], FromReader)
        self._packets: Receiver[FromStream] = Receiver(ipc(runtime_dir, "packets"), FromStream)
        self._stats: Receiver[ProcessStats] = Receiver(ipc(runtime_dir, "stats"), ProcessStats)

    def serve(self) -> None:
        """Take in everything that waits, once."""
        while (received := self._server.receive()) is not None:
            peer, message, _ = received
            if isinstance(message, Hello):
                self.hellos += 1
                if self.answers_hello:
                    self._server.send(peer, self.welcome())
            else:
                self._take(peer, message)
        while (packet := self._packets.receive()) is not None:
            self.packets.append(packet)
        while (stats := self._stats.receive()) is not None:
            self.stats = stats
            if stats.camera is not None and (stats.camera.state, stats.camera.reason) not in self.states[-1:]:
                self.states.append((stats.camera.state, stats.camera.reason))

    def welcome(self) -> Welcome:
        return Welcome(worker_id=self.worker_id, model_id="m", width=SIZE, height=SIZE, fit="letterbox", credits=2)

    def _take(self, peer: bytes, frame: Frame) -> None:
        pixels = np.zeros((3, SIZE, SIZE), np.uint8)
        assert frame.slot is not None
        try:
            self._rings.copy_into(frame.slot, pixels)
        except SlotError:
            return  # its reader was killed before we looked
        self.frames.append(frame)
        self.levels.append(round((int(pixels[1, 5, 5]) - 16) / 8))
        if self.outcome is not None:
            self._server.send(peer, Credit(sequence=frame.sequence, outcome=self.outcome))

    def until(self, condition: object, what: str) -> None:
        """Serve until `condition()` is true."""

        def served() -> bool:
            self.serve()
            return bool(condition())

        wait_for(served, what)

    def count(self, name: str, reason: str = "") -> float:
        """Return a counter of the reader as it last told."""
        samples = self.stats.counters if self.stats else ()
        return sum(s.value for s in samples if s.name == name and s.reason == reason)

    @property
    def camera(self) -> CameraStatus | None:
        """The state as last told."""
        return self.stats.camera if self.stats else None

    def until_state(self, state: str, reason: str = "") -> None:
        """Serve until the camera is in this state."""
        self.until(lambda: (state, reason) in self.states[-1:], f"{state} {reason}, not {self.states}")

    def close(self) -> None:
        for socket in (self._server, self._packets, self._stats):
            socket.close()


@pytest.fixture
def peers() -> Iterator[Peers]:
    """Give the other ends, in a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        peers = Peers(Path(folder))
        yield peers
        peers.close()


def reader(peers: Peers, url: str, *, recording: str = "continuous", **settings: object) -> StartedChild:
    camera = Camera.model_validate({"url": url, "timeout_s": 2, "detect_fps": 120, **settings})
    return start_child(
        "reader",
        "camera gate",
        Settings(
            service=Service(runtime_dir=peers.runtime_dir, state_dir=peers.runtime_dir),
            cameras={"gate": camera},
            recording=Recording(mode=recording),
        ),
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two seconds of video at 10 fps with sound."""
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 20, audio="aac")


def test_a_camera_is_delivered_to_worker_and_recorder(peers: Peers, clip: Path) -> None:
    """Frames with their pixels and times, packets with a header before every key frame, an end when asked to stop."""
    with Simulator({"gate": clip}) as simulator, reader(peers, simulator.urls["gate"]) as child:
        peers.until(lambda: len(peers.frames) >= 15 and peers.count("packets_sent") > 10, "frames and packets")
        peers.until_state("seen")
        assert child.stop() == 0
        peers.serve()

    frame, status = peers.frames[-1], peers.camera
    assert (frame.camera, frame.source_width, frame.source_height) == ("gate", 160, 96)
    assert frame.captured_ns <= frame.decoded_ns <= frame.sent_ns <= time.monotonic_ns()
    assert [f.sequence for f in peers.frames] == list(range(1, len(peers.frames) + 1))
    assert set(peers.levels) <= set(range(21))
    assert status is not None
    assert status.record == status.detect
    assert status.detect is not None
    assert (status.detect.codec, status.detect.audio) == ("h264", "aac")
    kinds = [type(packet) for packet in peers.packets]
    assert kinds[0] is StreamStart
    assert kinds[-1] is StreamEnd
    assert all(
        type(before) is StreamStart
        for before, packet in zip(peers.packets, peers.packets[1:], strict=False)
        if isinstance(packet, Packet) and packet.stream_index == 0 and packet.is_keyframe
    )
    assert len({packet.stream_id for packet in peers.packets}) == 1


def test_a_fast_file_is_inferred_whole_then_the_reader_idles(peers: Peers, clip: Path) -> None:
    """Every frame once and in order; the reader stays, for a file that is over is no crash."""
    with reader(peers, str(clip), pace="fast", loop=False) as child:
        peers.until(lambda: len(peers.frames) >= 20, "all frames")
        peers.until_state("no_signal", "ended")
        assert child.process.poll() is None
        assert child.stop() == 0

    assert peers.levels == sorted(peers.levels)
    assert len(peers.frames) == 20
    assert peers.count("frames_dropped", "superseded") == 0


def test_a_fast_file_loses_no_frame_to_a_worker_that_drops_and_restarts(peers: Peers, clip: Path) -> None:
    """A frame that was not inferred comes again."""
    with reader(peers, str(clip), pace="fast", loop=False):
        peers.outcome = "stale"
        peers.until(lambda: len(peers.frames) >= 3, "the first frame, again and again")
        assert len(set(peers.levels)) == 1
        peers.outcome = None
        number = len(peers.frames)
        peers.until(lambda: len(peers.frames) > number, "a frame that is never credited")
        peers.worker_id, peers.outcome = "two", "inferred"
        peers.until_state("no_signal", "ended")

    assert len(set(zip(peers.levels, strict=True))) >= 18  # neighbours may differ by rounding of brightness
    assert peers.count("frames_dropped", "detector_down") == 1


def test_never_more_frames_in_flight_than_credits(peers: Peers, clip: Path) -> None:
    """Without credits two frames come, then none; the rest is counted as superseded, and it is called detector down."""
    peers.outcome, peers.worker_id = None, "one"
    with reader(peers, str(clip)):
        peers.until(lambda: len(peers.frames) >= 2, "two frames")
        peers.answers_hello = False
        peers.until_state("detector_down")
        peers.until(lambda: peers.count("frames_dropped", "superseded") > 3, "superseded frames")
        assert len(peers.frames) == 2
        hellos = peers.hellos
        peers.until(lambda: peers.hellos > hellos, "another hello")
        peers.answers_hello, peers.outcome = True, "inferred"
        peers.until_state("seen")


def test_without_a_worker_the_reader_keeps_asking_and_the_recorder_is_served(peers: Peers, clip: Path) -> None:
    """Detection never harms recording."""
    peers.answers_hello = False
    with reader(peers, str(clip)):
        peers.until_state("detector_down")
        peers.until(lambda: peers.hellos >= 2, "two hellos")
        peers.until(lambda: sum(isinstance(p, Packet) for p in peers.packets) > 20, "packets")
        peers.until(lambda: peers.count("frames_dropped", "detector_down") > 0, "frames counted")
        peers.answers_hello = True
        peers.until_state("seen")


def test_all_frames_shed_by_the_worker_is_called_dropped(peers: Peers, clip: Path) -> None:
    """A camera that nobody looks at is not seen."""
    peers.outcome = "stale"
    with reader(peers, str(clip)):
        peers.until_state("dropped")


def test_recording_off_sends_no_packet_and_detect_fps_is_kept(peers: Peers, clip: Path) -> None:
    """Five of ten frames a second; the others are decoded only."""
    with reader(peers, str(clip), recording="off", detect_fps=5):
        peers.until(lambda: peers.count("frames_decoded") >= 30, "30 decoded frames")

    assert peers.packets == []
    assert 0.35 < len(peers.frames) / peers.count("frames_decoded") < 0.65


def test_main_stream_is_recorded_and_sub_stream_detected(peers: Peers, clip: Path, tmp_path: Path) -> None:
    """Two addresses, two connections, one camera."""
    sub = make_clip(tmp_path / "sub.mkv", 20, codec="libx265")
    with Simulator({"main": clip, "sub": sub}) as simulator:
        urls = simulator.urls
        with reader(peers, urls["main"], detect_url=urls["sub"]):
            peers.until(lambda: len(peers.frames) > 3 and peers.packets, "frames and packets")
            peers.until(lambda: peers.camera and peers.camera.detect and peers.camera.record, "both streams")

    assert peers.camera is not None
    assert [i.codec for i in (peers.camera.record, peers.camera.detect) if i] == ["h264", "hevc"]


def test_a_dead_main_stream_is_said_while_the_sub_stream_is_seen(peers: Peers, clip: Path) -> None:
    """Detection goes on, and the status says why nothing is recorded."""
    with reader(peers, f"rtsp://127.0.0.1:{free_port()}/main", detect_url=str(clip)):
        peers.until(
            lambda: peers.camera and (peers.camera.state, peers.camera.record_fault) == ("seen", "refused"),
            "the fault of the record stream",
        )


def test_a_live_camera_whose_pictures_change_size_is_connected_anew(peers: Peers, tmp_path: Path) -> None:
    """Each connection's recording has pictures of one size, and the reader lives on."""
    parts = []
    for size in ((160, 96), (320, 192)):
        name = tmp_path / f"{size[0]}.mjpeg"
        jpegs = make_clip(name, 8, codec="mjpeg", pix_fmt="yuvj420p", size=size).read_bytes()
        parts += [b"\xff\xd8" + jpeg for jpeg in jpegs.split(b"\xff\xd8")[1:]]
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    body = b"".join(
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(part), part) for part in parts
    )
    with camera_server(head + body) as port, reader(peers, f"http://127.0.0.1:{port}/video"):
        peers.until(lambda: peers.count("disconnects", "ended"), "the end of the connection, and not by silence")
        assert {(frame.source_width, frame.source_height) for frame in peers.frames} <= {(160, 96), (320, 192)}
        peers.until(lambda: len(_stream_ids(peers)) >= 2, "a record stream of its own")


def test_a_camera_that_dies_and_comes_back_is_seen_again(peers: Peers, clip: Path) -> None:
    """The same process reconnects; a new connection is a new stream for the recorder."""
    simulator = Simulator({"gate": clip}).start()
    with reader(peers, simulator.urls["gate"]) as child:
        peers.until_state("seen")
        pid = child.process.pid
        simulator.stop()
        peers.until(lambda: peers.states[-1][0] == "no_signal", "no signal")
        again = Simulator({"gate": clip}, port=simulator.port).start()
        peers.until_state("seen")
        assert peers.camera is not None
        assert peers.camera.reconnects == 1
        peers.until(lambda: len(_stream_ids(peers)) == 2, "the new stream")
        assert (child.process.pid, child.process.poll()) == (pid, None)
    again.stop()

    assert any(isinstance(p, StreamEnd) for p in peers.packets)


def _stream_ids(peers: Peers) -> set[int]:
    return {packet.stream_id for packet in peers.packets}


def test_a_dead_camera_says_why(peers: Peers) -> None:
    """Refused, and never connected."""
    with reader(peers, f"rtsp://127.0.0.1:{free_port()}/s"):
        peers.until_state("no_signal", "refused")
        peers.until(lambda: peers.count("disconnects", "refused") >= 2, "more than one attempt")

    assert peers.frames == []


def test_wrong_credentials_are_tried_once_and_never_logged(
    peers: Peers, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The next attempt is a minute away."""
    login = Credentials("joe", "the-true-one", "digest")
    with (
        Simulator({"gate": clip}, credentials=login) as simulator,
        reader(peers, simulator.urls["gate"], username="joe", password=WRONG),
    ):
        peers.until_state("no_signal", "auth")
        end_s = time.monotonic() + 2
        peers.until(lambda: time.monotonic() > end_s, "two seconds")
        assert peers.count("disconnects", "auth") == 1

    assert WRONG not in capfd.readouterr().err


def test_still_frames_are_gated_but_looked_at_once_a_second(peers: Peers, tmp_path: Path) -> None:
    """Gated frames are counted, and the camera counts as seen."""
    import cv2

    cv2.imwrite(str(tmp_path / "still.png"), np.full((96, 160, 3), 90, np.uint8))
    with reader(peers, str(tmp_path), detect_fps=20, motion={"enabled": True}):
        peers.until(lambda: peers.count("frames_dropped", "gated") > 40, "gated frames")
        peers.until_state("seen")

    assert 2 <= len(peers.frames) < peers.count("frames_dropped", "gated") / 4


def test_privacy_masks_are_black_in_what_the_worker_gets(peers: Peers, tmp_path: Path) -> None:
    """The left half of a white picture."""
    import cv2

    cv2.imwrite(str(tmp_path / "white.png"), np.full((96, 160, 3), 255, np.uint8))
    left = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    with reader(peers, str(tmp_path), privacy_masks=[left]):
        peers.until(lambda: peers.levels, "a frame")

    assert set(peers.levels) == {-2}


def test_a_killed_reader_leaves_nothing_and_its_successor_is_served(peers: Peers, clip: Path) -> None:
    """No file in /dev/shm, and the same identity on the frames plane works again at once."""
    with reader(peers, str(clip)) as child:
        peers.until(lambda: len(peers.frames) > 3, "frames")
        child.kill()
    frames = len(peers.frames)
    with reader(peers, str(clip)):
        peers.until(lambda: len(peers.frames) > frames + 3, "frames of the successor")

    assert list(Path("/dev/shm").glob("*lepton*")) == []
