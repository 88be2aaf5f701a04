"""Real encoded colours come out as the colours that went in, in the right place, and masks hide what they cover."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from daemon.camera.letterbox import GREY, Letterbox, LumaView, yuv_to_rgb_matrix

Pixels = NDArray[np.uint8]
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 120, 30))
SPACE = {"bt709": 1, "bt601": 5}


def stripes(width: int, height: int) -> Pixels:
    """Return a picture of one vertical stripe a colour, RGB."""
    picture = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(COLOURS):
        picture[:, index * width // len(COLOURS) : (index + 1) * width // len(COLOURS)] = colour
    return picture


def as_yuv(picture: Pixels, matrix: str, *, full_range: bool, pix_fmt: str = "yuv444p") -> VideoFrame:
    """Return the picture in YUV, computed by the inverse of the standard's formula and not by a library."""
    forward = yuv_to_rgb_matrix(matrix, full_range=full_range).astype(np.float64)
    yuv = (picture.reshape(-1, 3) - forward[:, 3]) @ np.linalg.inv(forward[:, :3]).T
    planes = yuv.round().clip(0, 255).astype(np.uint8).reshape(picture.shape).transpose(2, 0, 1)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(planes), "yuv444p")
    if pix_fmt == "nv12":
        chroma = planes[1:, ::2, ::2].transpose(1, 2, 0).reshape(picture.shape[0] // 2, -1)
        frame = VideoFrame.from_ndarray(np.concatenate([planes[0], chroma]), "nv12")
    elif pix_fmt == "yuv420p":
        chroma = planes[1:, ::2, ::2].reshape(-1, picture.shape[1])
        frame = VideoFrame.from_ndarray(np.concatenate([planes[0], chroma]), "yuv420p")
    frame.color_range = 2 if full_range else 1
    frame.colorspace = SPACE[matrix]
    return frame


def through_x264(frame: VideoFrame) -> VideoFrame:
    """Return the frame as H.264 brings it back."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    encoder.time_base = Fraction(1, 25)
    encoder.color_range, encoder.colorspace = frame.color_range, frame.colorspace
    encoder.options = {"qp": "4", "tune": "zerolatency"}
    frame.pts = 0
    decoder = av.CodecContext.create("h264", "r")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return next(out for packet in [*packets, None] for out in decoder.decode(packet))


def boxed(frame: VideoFrame, width: int = 224, height: int = 224, **options: object) -> Pixels:
    out = np.full((3, height, width), 77, np.uint8)
    Letterbox(width, height, options.pop("fit", "letterbox"), **options).write(frame, out)
    return out


def middles(out: Pixels, high: int, wide: int) -> Pixels:
    """Return the colour in the middle of each stripe."""
    columns = [(2 * index + 1) * wide // (2 * len(COLOURS)) for index in range(len(COLOURS))]
    return out[:, high // 2, columns].T


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "nv12"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_tagged_colours_come_back(matrix: str, full_range: bool, pix_fmt: str) -> None:
    """Standard and range are taken from the frame; a mix-up would be off by 15 and more."""
    frame = as_yuv(stripes(448, 256), matrix, full_range=full_range, pix_fmt=pix_fmt)

    got = middles(boxed(frame), 128, 224)

    np.testing.assert_allclose(got.astype(int), COLOURS, atol=3)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_colours_survive_a_real_encoder(matrix: str, full_range: bool) -> None:
    """The decoder's own tags, as a camera sends them, lead to the right colours."""
    frame = through_x264(as_yuv(stripes(448, 256), matrix, full_range=full_range, pix_fmt="yuv420p"))

    got = middles(boxed(frame), 128, 224)

    np.testing.assert_allclose(got.astype(int), COLOURS, atol=6)


@pytest.mark.parametrize(("height", "matrix"), [(480, "bt601"), (720, "bt709")])
def test_untagged_streams_are_taken_by_their_height(height: int, matrix: str) -> None:
    """Most cameras do not tag their stream; players take HD for BT.709."""
    frame = as_yuv(stripes(448, height), matrix, full_range=False)
    frame.colorspace, frame.color_range = 2, 0

    np.testing.assert_allclose(middles(boxed(frame, fit="stretch"), 224, 224).astype(int), COLOURS, atol=3)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "bgr24", "gbrp", "rgba"])
def test_pictures_that_are_rgb_already_keep_their_colours(pix_fmt: str) -> None:
    """PNG files decode to RGB."""
    picture = VideoFrame.from_ndarray(stripes(448, 256), "rgb24")

    got = middles(boxed(picture.reformat(format=pix_fmt)), 128, 224)

    np.testing.assert_allclose(got.astype(int), COLOURS, atol=2)


@pytest.mark.parametrize("pix_fmt", ["yuvj422p", "yuv420p10le", "gray", "yuyv422"])
def test_rarer_formats_keep_brightness(pix_fmt: str) -> None:
    """MJPEG, 10 bit, thermal and USB cameras."""
    picture = np.full((100, 200, 3), 200, np.uint8)
    frame = VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)

    got = boxed(frame)[:, 50, 100]

    np.testing.assert_allclose(got.astype(int), [200, 200, 200], atol=3)


@pytest.mark.parametrize("size", [(448, 256), (256, 448), (90, 60), (449, 257)])
def test_the_picture_lies_top_left_and_the_rest_is_grey(size: tuple[int, int]) -> None:
    """Every byte of the slot is written: what a slot held before never shines through."""
    frame = as_yuv(np.full((size[1], size[0], 3), 250, np.uint8), "bt601", full_range=False)

    out = boxed(frame)
    scale = 224 / max(size)
    high, wide = round(size[1] * scale), round(size[0] * scale)

    assert (out[:, :high, :wide] > 240).all()
    assert (out[:, high:] == GREY).all()
    assert (out[:, :, wide:] == GREY).all()


def test_stretch_fills_the_whole_input() -> None:
    """Models trained on stretched pictures get no grey."""
    frame = as_yuv(np.full((100, 300, 3), 250, np.uint8), "bt601", full_range=False)

    assert (boxed(frame, fit="stretch") > 240).all()


@pytest.mark.parametrize("size", [(1280, 720), (160, 90), (64, 48), (640, 640)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "rgb24"])
def test_nothing_under_a_privacy_mask_reaches_any_output_pixel(size: tuple[int, int], pix_fmt: str) -> None:
    """A bright square in a black picture, exactly under the mask, leaves no trace, scaled down or up."""
    wide, high = size
    picture = np.zeros((high, wide, 3), np.uint8)
    picture[high // 4 : high // 2, wide // 4 : wide // 2] = 255
    mask = [(0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5)]
    frame = VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)

    shown = boxed(frame, privacy_masks=[mask])
    placed = round(high * 224 / max(size)), round(wide * 224 / max(size))

    assert shown[:, : placed[0], : placed[1]].max() <= 3
    assert boxed(frame).max() > 200
    assert LumaView([mask]).of(frame).max() <= 20
    assert LumaView().of(frame).max() > 200


def test_a_mask_hides_no_more_than_it_must() -> None:
    """Three camera pixels around the mask, not the picture."""
    frame = as_yuv(np.full((720, 1280, 3), 255, np.uint8), "bt709", full_range=False)

    out = boxed(frame, 416, 416, privacy_masks=[[(0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5)]])

    dark = (out[0, :234] == 0).sum()
    assert 104 * 58.5 <= dark <= 108 * 62


def test_one_letterbox_takes_frames_of_changing_size() -> None:
    """A camera that was set to another resolution goes on."""
    box, out = Letterbox(64, 64, "letterbox"), np.zeros((3, 64, 64), np.uint8)

    for wide, high in ((128, 64), (64, 128), (128, 64)):
        box.write(as_yuv(np.full((high, wide, 3), 255, np.uint8), "bt601", full_range=False), out)
        assert (out[0] > 240).sum() == 64 * 32


def test_luma_is_the_mean_of_blocks() -> None:
    """Single noisy pixels disappear in it."""
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280), np.uint8)

    luma = LumaView().of(VideoFrame.from_ndarray(noise, "gray"))

    assert luma.shape == (LumaView.height, LumaView.width)
    assert luma.astype(float).std() < 40
