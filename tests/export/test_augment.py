"""Augmentation: the boxes stay around what they were drawn around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from export.training.augment import AugmentConfig, Chance, augment, camera, mix, warp_boxes

PLAIN = AugmentConfig(hue=0, saturation=0, value=0, grey=0, blur=0, noise=0)


def _scene(_: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One white box on black."""
    picture = np.zeros((100, 120, 3), np.uint8)
    picture[30:70, 40:60] = 255
    return picture, np.array([[40, 30, 60, 70, 1, 2]], np.float32)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_follow_what_they_surround(seed: int, mosaic: float) -> None:
    """Wherever the white boxes land, rows cover white pixels, and no white is outside rows."""
    config = replace(PLAIN, mosaic=mosaic, rotate_deg=0)
    picture, rows = augment(_scene, 0, 4, 160, Chance(config, np.random.default_rng(seed)))

    white = picture[..., 0] == 255
    covered = np.zeros_like(white)
    for x1, y1, x2, y2 in rows[:, :4]:
        inside = white[int(np.ceil(y1)) + 1 : int(y2) - 1, int(np.ceil(x1)) + 1 : int(x2) - 1]
        assert inside.size == 0 or inside.mean() > 0.9
        covered[int(max(0, y1 - 2)) : int(y2 + 3), int(max(0, x1 - 2)) : int(x2 + 3)] = True
    stray = white & ~covered
    assert stray.sum() < 0.02 * white.size  # slivers whose box was dropped
    assert picture.shape == (160, 160, 3)


def test_the_same_chance_gives_the_same_picture_and_another_another() -> None:
    """All randomness comes from the generator that is passed in."""
    results = [augment(_scene, 0, 4, 96, Chance(AugmentConfig(), np.random.default_rng(seed))) for seed in (5, 5, 6)]

    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])
    assert not np.array_equal(results[0][0], results[2][0])


@pytest.mark.parametrize(
    ("matrix", "box", "wanted"),
    [
        ([[1, 0, 0], [0, 1, 0]], [10, 10, 30, 30], [[10, 10, 30, 30]]),
        ([[-1, 0, 100], [0, 1, 0]], [10, 10, 30, 30], [[70, 10, 90, 30]]),
        ([[1, 0, -20], [0, 1, 0]], [10, 10, 40, 30], [[0, 10, 20, 30]]),
        ([[1, 0, -28], [0, 1, 0]], [10, 10, 30, 30], []),
        ([[0.1, 0, 0], [0, 0.1, 0]], [10, 10, 30, 30], []),
    ],
    ids=["kept", "mirrored", "clipped", "nearly outside", "too small"],
)
def test_warped_boxes_are_clipped_and_dropped(
    matrix: list[list[float]], box: list[float], wanted: list[list[float]]
) -> None:
    """A table of matrices and where the box ends up in a window of 100 x 100."""
    rows = np.array([[*box, 0.5, 1]], np.float32)

    warped = warp_boxes(rows, np.array(matrix, np.float64), 100, 100)

    np.testing.assert_allclose(warped[:, :4], np.array(wanted, np.float32).reshape(-1, 4), atol=1e-3)
    assert (warped[:, 4:] == [0.5, 1]).all()


@pytest.mark.parametrize("change", ["grey", "blur", "noise"])
def test_each_camera_fault_changes_the_picture_and_nothing_else(change: str) -> None:
    """Grey has equal planes; blur and noise alter pixels; type and shape stay."""
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)

    out = camera(picture, Chance(replace(PLAIN, **{change: 1.0}), np.random.default_rng(1)))  # type: ignore[arg-type]

    assert out.shape == picture.shape
    assert out.dtype == np.uint8
    assert not np.array_equal(out, picture)
    if change == "grey":
        assert np.array_equal(out[..., 0], out[..., 2])


def test_two_pictures_in_one_keep_the_boxes_of_both_by_their_shares() -> None:
    """Brightness and scores are shared out alike; the scenes themselves are left as they were."""
    front, back = _scene(0), (np.full((100, 120, 3), 100, np.uint8), np.array([[0, 0, 9, 9, 0.5, 1]], np.float32))

    picture, rows = mix(front, back, 0.75)

    assert picture[50, 50, 0] == round(255 * 0.75 + 100 * 0.25)
    assert picture[0, 0, 0] == 25
    np.testing.assert_allclose(rows[:, 4], [0.75, 0.125])
    assert front[1][0, 4] == 1


def test_mixing_happens_as_often_as_asked() -> None:
    """Never by default; with 1, always."""
    counts = [
        len(
            augment(
                _scene, 0, 4, 96, Chance(replace(PLAIN, mosaic=0, scale=(0.8, 1), mix=m), np.random.default_rng(3))
            )[1]
        )
        for m in (0.0, 1.0)
    ]

    assert counts == [1, 2]
