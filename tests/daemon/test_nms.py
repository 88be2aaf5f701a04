"""Suppression: the best row of a place and class stays."""

import numpy as np
import pytest

from daemon.inference.nms import confident, suppress

A = [0, 0, 10, 10, 0.9, 0]
A_SHIFTED = [1, 0, 11, 10, 0.8, 0]  # IoU with A: 90 / 110
A_OTHER_CLASS = [0, 0, 10, 10, 0.7, 1]
FAR = [50, 50, 60, 60, 0.6, 0]
CHAIN = [2, 0, 12, 10, 0.5, 0]  # IoU with A 80 / 120, with A_SHIFTED 90 / 110


@pytest.mark.parametrize(
    ("rows", "iou", "kept"),
    [
        ([], 0.5, []),
        ([A], 0.5, [A]),
        ([A, A_SHIFTED], 0.5, [A]),
        ([A, A_SHIFTED], 0.9, [A, A_SHIFTED]),
        ([A, A_OTHER_CLASS], 0.5, [A, A_OTHER_CLASS]),
        ([A, A_SHIFTED, FAR], 0.5, [A, FAR]),
        ([A, A_SHIFTED, CHAIN], 0.7, [A, CHAIN]),  # a row that was itself suppressed suppresses nobody
    ],
)
def test_the_best_of_overlapping_rows_of_one_class_stays(
    rows: list[list[float]], iou: float, kept: list[list[float]]
) -> None:
    """Greedy suppression, worked by hand."""
    result = suppress(np.array(rows, np.float32).reshape(-1, 6), iou)

    np.testing.assert_array_equal(result, np.array(kept, np.float32).reshape(-1, 6))


def test_rows_without_area_neither_suppress_nor_divide_by_zero() -> None:
    """A degenerate box has IoU 0 with everything, itself included."""
    rows = np.array([[5, 5, 5, 5, 0.9, 0], [5, 5, 5, 5, 0.8, 0]], np.float32)

    assert len(suppress(rows, 0.5)) == 2


@pytest.mark.parametrize(("min_score", "count"), [(0.0, 2), (0.6, 2), (0.61, 1), (0.95, 0)])
def test_rows_below_the_minimum_and_unused_rows_are_cut_off(min_score: float, count: int) -> None:
    """Scores fall, so one search finds the end; a score of 0 is an unused row even with minimum 0."""
    rows = np.array([A, FAR, [0] * 6, [0] * 6], np.float32)

    assert len(confident(rows, min_score)) == count
