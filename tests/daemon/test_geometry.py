"""Placement in the model's input, boxes back to the camera, polygons as pixels."""

import numpy as np
import pytest

from daemon.geometry import Placement, fit_box, rasterise, to_source
from daemon.messages import Fit


@pytest.mark.parametrize(
    ("source", "target", "fit", "expected"),
    [
        ((1280, 720), (416, 416), "letterbox", Placement(0.325, 0.325, 416, 234)),
        ((720, 1280), (416, 416), "letterbox", Placement(0.325, 0.325, 234, 416)),
        ((320, 240), (640, 640), "letterbox", Placement(2.0, 2.0, 640, 480)),
        ((416, 416), (416, 416), "letterbox", Placement(1.0, 1.0, 416, 416)),
        ((1280, 720), (320, 320), "stretch", Placement(0.25, 320 / 720, 320, 320)),
        ((10000, 10), (320, 320), "letterbox", Placement(0.032, 0.1, 320, 1)),
    ],
)
def test_the_picture_is_placed_as_the_model_contract_says(
    source: tuple[int, int], target: tuple[int, int], fit: Fit, expected: Placement
) -> None:
    """Scales are those of the rounded size, and nothing is ever placed with no pixel."""
    assert fit_box(*source, *target, fit) == expected


def test_boxes_come_back_to_camera_pixels_and_are_clipped() -> None:
    """Score and class stay; the input is not changed."""
    rows = np.array([[32.5, 32.5, 65, 97.5, 0.5, 2], [-10, 0, 500, 400, 0.4, 0]], np.float32)
    before = rows.copy()

    moved = to_source(rows, fit_box(1280, 720, 416, 416, "letterbox"), 1280, 720)

    np.testing.assert_allclose(moved, [[100, 100, 200, 300, 0.5, 2], [0, 0, 1280, 720, 0.4, 0]], rtol=1e-6)
    np.testing.assert_array_equal(rows, before)


def test_no_boxes_come_back_as_no_boxes() -> None:
    """An empty frame is the usual one."""
    assert to_source(np.empty((0, 6), np.float32), fit_box(4, 4, 2, 2, "stretch"), 4, 4).shape == (0, 6)


@pytest.mark.parametrize(
    ("polygon", "expected"),
    [
        # An edge between two pixels touches the later one too.
        ([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)], ["....", ".###", ".###", ".##."]),
        ([(0.26, 0.26), (0.51, 0.26), (0.51, 0.51), (0.26, 0.51)], ["....", ".##.", ".##.", "...."]),
        ([(0.3, 0.3), (0.31, 0.3), (0.3, 0.31)], ["....", ".#..", "....", "...."]),
        ([(0.1, 0.85), (0.85, 0.1), (0.85, 0.1)], ["..##", ".##.", "##..", "#..."]),
        ([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)], ["####", "####", "####", "####"]),
        # A bow tie: both wings are inside.
        ([(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)], ["#..#", "####", "####", "#..#"]),
    ],
)
def test_every_pixel_that_a_polygon_touches_is_covered(polygon: list[tuple[float, float]], expected: list[str]) -> None:
    """A polygon that only grazes a pixel covers it: a privacy mask is never too small."""
    mask = rasterise([polygon], 4, 4)

    assert ["".join("#" if cell else "." for cell in row) for row in mask] == expected


def test_a_winding_twice_polygon_has_no_hole() -> None:
    """With the even-odd rule the middle of a pentagram would stay visible."""
    corners = [(0.5 + 0.5 * np.sin(a), 0.5 - 0.5 * np.cos(a)) for a in np.arange(5) * 4 * np.pi / 5]

    assert rasterise([corners], 64, 64)[32, 32]


def test_margin_grows_a_mask_to_all_sides_and_stops_at_the_border() -> None:
    """A mask of one pixel grown by two is five by five."""
    dot = [(0.51, 0.51), (0.52, 0.51), (0.52, 0.52)]

    assert rasterise([dot], 20, 20, margin=2).sum() == 25
    assert rasterise([dot], 20, 20, margin=50).all()


def test_no_polygon_covers_nothing() -> None:
    """Without masks every pixel stays."""
    assert not rasterise([], 8, 4).any()
    assert rasterise([], 8, 4).shape == (4, 8)
