"""Streams and files opened for real; every failure has its reason, and no failure shows a password."""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from daemon.camera.capture import Capture, _Pace, probe, source_of, with_credentials
from daemon.camera.decoder import Decoder
from daemon.camera.pictures import Pictures
from daemon.config.settings import Camera
from daemon.errors import StreamError
from daemon.messages import StreamInfo
from daemon.simulator.auth import Credentials
from daemon.simulator.simulator import Simulator

from .camera_servers import free_port, make_clip, picture, server

SECRET = "p/:@#s%"  # noqa: S105 - of a camera that lives for a second


def camera(url: str, **settings: object) -> Camera:
    return Camera.model_validate({"url": url, "timeout_s": 1, "pace": "fast", "loop": False, **settings})


def opened(url: str, **settings: object) -> Capture:
    return Capture(camera(url, **settings), url)


def failure(url: str, **settings: object) -> StreamError:
    """Return the error of opening and reading `url` to its end."""
    with pytest.raises(StreamError) as caught:
        for _ in opened(url, **settings).packets(lambda: False):
            pass
    return caught.value


def levels(url: str, most: int = 1000, **settings: object) -> list[int]:
    """Return the numbers that the decoded frames tell (see `picture`)."""
    numbers: list[int] = []
    capture = opened(url, **settings)
    decoder = Decoder(capture.video, 0)
    with suppress(StreamError):  # the file's end
        for packet in capture.packets(lambda: len(numbers) >= most):  # noqa: B023 - of this call
            if packet.stream_index == capture.video.index:
                luma = [np.frombuffer(f.planes[0], np.uint8)[0] for f in decoder.decode(packet, 0)]
                numbers += [round((int(value) - 16) * 255 / 219 / 8 - 2) for value in luma]
    capture.close()
    return numbers


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("rtsp://h/s", "live"),
        ("rtsps://h/s", "live"),
        ("http://h/x.jpg", "live"),
        ("clip.mp4", "file"),
        ("file:///a/clip.mkv", "file"),
        ("a.JPG", "pictures"),
        ("/", "pictures"),
    ],
)
def test_the_address_tells_the_kind_of_source(url: str, source: str) -> None:
    """A folder is a folder of pictures."""
    assert source_of(url) == source


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://h:554/s?x=1", "rtsp://u%40x:p%2F%3A%40%23@h:554/s?x=1"),
        ("rtsp://old:one@h/s", "rtsp://old:one@h/s"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_credentials_are_quoted_into_the_address(url: str, expected: str) -> None:
    """Signs that mean something in an address are common in passwords."""
    assert with_credentials(url, "u@x", "p/:@#") == expected


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "auth"),
        ("403 Forbidden", "auth"),
        ("404 Not Found", "not_found"),
        ("461 Unsupported Transport", "protocol"),
        ("453 Not Enough Bandwidth", "protocol"),
        ("503 Service Unavailable", "refused"),
    ],
)
def test_what_a_camera_answers_becomes_a_reason(status: str, reason: str) -> None:
    """The same codes over RTSP and HTTP."""
    with server(f"RTSP/1.0 {status}\r\nCSEQ\r\n\r\n".encode()) as port:
        assert failure(f"rtsp://127.0.0.1:{port}/s", username="joe", password=SECRET).reason == reason
    with server(f"HTTP/1.0 {status}\r\n\r\n".encode(), hang_up=True) as port:
        assert failure(f"http://127.0.0.1:{port}/s").reason == reason


def test_a_port_without_a_camera_is_refused() -> None:
    """The camera's host is there, its service is not."""
    assert failure(f"rtsp://127.0.0.1:{free_port()}/s").reason == "refused"


def test_an_unknown_host_is_a_dns_failure() -> None:
    """`.invalid` never resolves (RFC 2606)."""
    assert failure("rtsp://camera.invalid/s").reason == "dns"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_camera_that_accepts_and_says_nothing_times_out(scheme: str) -> None:
    """Without the option `timeout` this would hang for ever."""
    with server(None) as port:
        assert failure(f"{scheme}://127.0.0.1:{port}/s").reason == "timeout"


def test_a_camera_that_talks_nonsense_does_not_hold_the_reader() -> None:
    """Answers that never fit keep FFmpeg's own timeout from striking; ours for opening does."""
    with server(b"hello\r\n\r\n") as port:
        assert failure(f"rtsp://127.0.0.1:{port}/s").reason in {"timeout", "protocol"}


def test_errors_never_carry_the_password() -> None:
    """FFmpeg's own texts carry the address."""
    with server(b"RTSP/1.0 401 Unauthorized\r\nCSEQ\r\n\r\n") as port:
        error = failure(f"rtsp://127.0.0.1:{port}/s", username="joe", password=SECRET)

    assert SECRET not in f"{error!r} {error.__cause__!r}"


@pytest.mark.parametrize(("content", "reason"), [(None, "not_found"), (b"", "protocol"), (b"hello" * 999, "protocol")])
def test_files_that_are_no_video_say_so(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """Missing, empty, or something else."""
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)

    assert failure(str(path)).reason == reason


@pytest.mark.parametrize(("codec", "name"), [("libx264", "h264"), ("libx265", "hevc"), ("mjpeg", "mjpeg")])
def test_a_file_is_read_once_with_every_frame(tmp_path: Path, codec: str, name: str) -> None:
    """Also the frames that the decoder holds back to the end; then the stream is over."""
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    clip = make_clip(tmp_path / "clip.mkv", 20, codec=codec, pix_fmt=pix_fmt)

    assert opened(str(clip)).info == StreamInfo(codec=name, width=160, height=96, fps=10.0, audio=None)
    assert len(levels(str(clip))) == 20
    if name != "mjpeg":
        assert levels(str(clip)) == list(range(20))


def test_sound_of_an_unknown_codec_costs_no_pictures(tmp_path: Path) -> None:
    """It is left out; a video that nobody knows is a reason code, not a crash."""
    clip = make_clip(tmp_path / "clip.mkv", 10, audio="aac").read_bytes()
    (tmp_path / "odd.mkv").write_bytes(clip.replace(b"A_AAC", b"A_XYZ"))
    (tmp_path / "none.mkv").write_bytes(clip.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))

    assert opened(str(tmp_path / "odd.mkv")).info.audio is None
    assert levels(str(tmp_path / "odd.mkv")) == list(range(10))
    assert failure(str(tmp_path / "none.mkv")).reason == "decode"


def test_a_file_whose_clock_jumps_goes_on(tmp_path: Path) -> None:
    """As joined recordings do: nobody sleeps through the hours between them."""
    clip, ahead = make_clip(tmp_path / "clip.mkv", 10), 3600
    capture = Capture(camera(str(clip), pace="realtime"), str(clip))
    pace = _Pace(lambda: False)
    began_s = time.monotonic()

    with suppress(StreamError):
        for number, packet in enumerate(capture._demux()):
            if packet.dts is not None:
                packet.dts += (number >= 5) * round(ahead / packet.time_base)
                pace.wait_for(packet)

    assert time.monotonic() - began_s < ahead / 10


def test_a_looping_file_begins_again_and_its_time_goes_on(tmp_path: Path) -> None:
    """Nobody downstream sees time jump back; every frame of every round comes."""
    clip = make_clip(tmp_path / "clip.mp4", 10, audio="aac")
    times: dict[int, list[float]] = {}
    capture = opened(str(clip), loop=True)

    for packet in capture.packets(lambda: len(times.get(0, [])) >= 35):
        if packet.size:
            times.setdefault(packet.stream_index, []).append(float(packet.dts * packet.time_base))

    for stream_times in times.values():
        assert (np.diff(stream_times) > 0).all()
    assert 3.0 <= times[0][30] - times[0][0] < 4.0
    assert levels(str(clip), 30, loop=True)[:30] == list(range(10)) * 3


def test_a_file_in_real_time_takes_its_time(tmp_path: Path) -> None:
    """One and a half seconds of video; a busy machine may make it longer, never shorter."""
    clip = make_clip(tmp_path / "clip.mp4", 16)
    start_s = time.monotonic()

    assert len(levels(str(clip), pace="realtime")) == 16
    assert time.monotonic() - start_s >= 1.2


def test_stopping_a_paced_file_does_not_wait_for_its_next_frame(tmp_path: Path) -> None:
    """The loop's word is heard inside the wait."""
    clip = make_clip(tmp_path / "clip.mp4", 16)
    packets = opened(str(clip), pace="realtime", loop=True).packets(lambda: True)

    assert list(packets) == []


def test_rtsp_frames_come_in_order_from_a_key_frame_on(tmp_path: Path) -> None:
    """A real RTSP connection that begins inside a GOP."""
    with Simulator({"gate": make_clip(tmp_path / "clip.mp4", 20, audio="aac")}) as simulator:
        numbers = levels(simulator.urls["gate"], 12, timeout_s=5)

    assert len(numbers) >= 12
    assert numbers[0] % 5 == 0
    assert [n % 20 for n in numbers] == [(numbers[0] + i) % 20 for i in range(len(numbers))]


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_probe_logs_in_and_says_what_the_camera_delivers(tmp_path: Path, scheme: str) -> None:
    """Also with signs in the password that mean something in an address."""
    login = Credentials("joe", SECRET, scheme)
    with Simulator({"gate": make_clip(tmp_path / "clip.mp4", 20, audio="aac")}, credentials=login) as simulator:
        url = simulator.urls["gate"]
        info = probe(camera(url, username="joe", password=SECRET, timeout_s=5), url)
        wrong = failure(url, username="joe", password=SECRET[1:], timeout_s=5)

    assert info == StreamInfo(codec="h264", width=160, height=96, fps=10.0, audio="aac")
    assert wrong.reason == "auth"


def test_a_camera_that_goes_away_ends_the_stream(tmp_path: Path) -> None:
    """FFmpeg ends such a stream without an exception; we do not."""
    simulator = Simulator({"gate": make_clip(tmp_path / "clip.mp4")}).start()
    capture = opened(simulator.urls["gate"], timeout_s=5)
    packets = capture.packets(lambda: False)
    next(packets)

    simulator.stop()

    with pytest.raises(StreamError) as caught:
        list(packets)
    assert caught.value.reason in {"ended", "timeout"}
    capture.close()


def test_http_mjpeg_is_a_live_stream(tmp_path: Path) -> None:
    """Cheap cameras speak nothing else."""
    jpegs = make_clip(tmp_path / "clip.mjpeg", 12, codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    parts = [b"\xff\xd8" + part for part in jpegs.split(b"\xff\xd8")[1:]]
    head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    body = b"".join(
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(part), part) for part in parts
    )
    with server(head + body, hang_up=True) as port:
        url = f"http://127.0.0.1:{port}/video"
        assert opened(url).is_live
        numbers = levels(url)

    assert len(numbers) >= 10


def test_a_folder_of_pictures_is_shown_in_the_order_of_names(tmp_path: Path) -> None:
    """What is no picture is passed over."""
    for index in (2, 0, 1):
        _save(picture(10 * index), tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = Pictures(camera(str(tmp_path)), str(tmp_path))

    frames = pictures.frames(lambda: False)

    shown = [int(next(frames).to_ndarray(format="gray")[0, 0]) for _ in range(3)]

    assert shown == sorted(shown)
    with pytest.raises(StreamError, match="no more"):
        next(frames)


def test_one_picture_is_shown_for_ever(tmp_path: Path) -> None:
    """A camera that never changes."""
    _save(picture(3), tmp_path / "a.jpg")
    frames = Pictures(camera(str(tmp_path / "a.jpg"), loop=True), str(tmp_path / "a.jpg")).frames(lambda: False)

    assert [next(frames).width for _ in range(5)] == [160] * 5


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    """Not an empty stream."""
    with pytest.raises(StreamError) as caught:
        Pictures(camera(str(tmp_path)), str(tmp_path))
    assert caught.value.reason == "not_found"


def test_a_folder_that_empties_itself_is_an_error(tmp_path: Path) -> None:
    """Not a loop that warns as fast as it can."""
    _save(picture(1), tmp_path / "a.png")
    frames = Pictures(camera(str(tmp_path), loop=True), str(tmp_path)).frames(lambda: False)
    next(frames)

    (tmp_path / "a.png").unlink()

    with pytest.raises(StreamError, match="any more"):
        next(frames)


def _save(pixels: np.ndarray, path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), pixels)
