"""Snapshots: the right frame, the box where it belongs, masks black."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.clock import NS_PER_S
from daemon.errors import MediaError
from daemon.recording.snapshot import BOX_BGR, Image, Marking, blacken, decode_nearest, draw, save_jpeg

from .recording_material import FPS, encoded, number_in, timed_packets


def grey(width: int, height: int) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


def amber(image: Image) -> np.ndarray:
    """Where the picture has the colour of the box."""
    return np.abs(image.astype(int) - BOX_BGR).max(axis=2) < 60


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mjpeg"])
@pytest.mark.parametrize(("second", "number"), [(0, 0), (1.0, 10), (2.34, 23), (2.36, 24), (99, 29)])
def test_the_frame_nearest_to_the_instant_is_decoded(codec: str, second: float, number: int) -> None:
    """Not its key frame and not the one after: the frame that the box is from."""
    header, packets = timed_packets(encoded(codec, 3))

    image = decode_nearest(header.init_segment, packets, packets[0].utc_ns + int(second * NS_PER_S))

    assert number_in(image) == number
    assert number < 3 * FPS


def test_without_packets_or_with_broken_ones_there_is_an_error_and_no_picture() -> None:
    """A grey picture would look like evidence."""
    header, packets = timed_packets(encoded(seconds=3))
    without_keyframe = [packet for packet in packets if packet.is_video and not packet.is_keyframe][:3]

    with pytest.raises(MediaError, match="no packets"):
        decode_nearest(header.init_segment, [], 0)
    with pytest.raises(MediaError, match="cannot be decoded"):
        decode_nearest(header.init_segment, without_keyframe, without_keyframe[-1].utc_ns)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (640, 360), (1920, 1080), (3840, 2160), (480, 1920)])
@pytest.mark.parametrize(
    "box",
    [(0.25, 0.4, 0.5, 0.9), (0.0, 0.0, 1.0, 1.0), (0.95, 0.0, 1.0, 0.1), (-0.2, 0.9, 1.4, 1.3)],
    ids=["middle", "all", "corner", "outside"],
)
def test_the_box_is_drawn_where_it_belongs_at_any_size(
    width: int, height: int, box: tuple[float, float, float, float]
) -> None:
    """Its edges carry the colour, the picture keeps its size, nothing is drawn into the original."""
    image = grey(width, height)

    drawn = draw(image, Marking(box, "person 0.87"))

    assert drawn.shape == image.shape
    assert (image == 90).all()
    x1, y1, x2, y2 = (min(max(part, 0.0), 1.0) for part in box)
    left, right, bottom = round(x1 * (width - 1)), round(x2 * (width - 1)), round(y2 * (height - 1))
    middle = round((y1 + y2) / 2 * (height - 1))
    colour = amber(drawn)
    assert colour[bottom, (left + right) // 2]
    assert colour[middle, left]
    assert colour[middle, right]


def test_the_caption_is_large_enough_to_read_and_stands_at_the_box() -> None:
    """At 1080p its label is at least 30 pixels high; it lies above the box when there is room."""
    drawn = draw(grey(1920, 1080), Marking((0.25, 0.4, 0.5, 0.9), "person 0.87"))

    label = amber(drawn)[: int(0.4 * 1080) - 8].any(axis=1)
    assert 30 <= label.sum() <= 120


def test_privacy_masks_are_black_and_nothing_else_is() -> None:
    """Points are fractions, so the mask fits any size of picture."""
    image = grey(200, 100)

    blacken(image, [((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))])

    assert (image[:, :99] == 0).all()
    assert (image[:, 102:] == 90).all()


def test_a_jpeg_appears_whole_and_reads_back(tmp_path: Path) -> None:
    """No draft stays behind."""
    path = tmp_path / "deep" / "a.jpg"

    size_bytes = save_jpeg(grey(64, 48), path)

    assert path.stat().st_size == size_bytes
    assert [file.name for file in path.parent.iterdir()] == ["a.jpg"]
    back = cv2.imread(str(path))
    assert back is not None
    assert np.abs(back.astype(int) - 90).max() <= 2


def test_a_jpeg_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The text names the snapshot."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MediaError, match=r"a\.jpg"):
        save_jpeg(grey(64, 48), tmp_path / "file" / "a.jpg")


def test_a_picture_that_jpeg_cannot_hold_is_an_error_of_its_snapshot_alone(tmp_path: Path) -> None:
    """Anything else would end the recorder, again and again, for the order is repeated."""
    with pytest.raises(MediaError, match=r"a\.jpg cannot be encoded"):
        save_jpeg(grey(70_000, 2), tmp_path / "a.jpg")
