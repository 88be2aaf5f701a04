"""Assignment and loss: who answers for an object, and what it learns."""

from __future__ import annotations

import pytest
import torch

from export.nets.nano import grid
from export.training.assign import assign, iou
from export.training.losses import complete_iou, detection_loss
from export.training.schedule import Ema, learning_rate

torch.set_num_threads(1)  # tests share the machine


def _predictions(box: list[float], place: int, places: int = 84) -> torch.Tensor:
    """Boxes [1, A, 4] that are far away but for one place, which predicts `box`."""
    boxes = torch.full((1, places, 4), 500.0)
    boxes[..., 2:] += 1
    boxes[0, place] = torch.tensor(box)
    return boxes


def test_the_place_that_overlaps_answers_and_learns_its_iou() -> None:
    """One good place inside the object: it alone is positive, and its target is the overlap that it has."""
    points, _ = grid(64, 64)
    boxes = _predictions([8, 8, 24, 32], place=9 + 1)
    truth = torch.tensor([[0, 8, 8, 24, 24, 1.0, 1]])

    found = assign(torch.full((1, 84, 2), 0.5), boxes, points, truth)

    assert found.place.tolist() == [10]
    assert found.target.tolist() == pytest.approx([2 / 3])


def test_a_teachers_doubt_scales_what_is_learnt() -> None:
    """The same object with score 0.4 gives 0.4 of the target."""
    points, _ = grid(64, 64)
    boxes = _predictions([8, 8, 24, 24], place=10)

    sure, doubt = (
        assign(torch.full((1, 84, 2), 0.5), boxes, points, torch.tensor([[0, 8, 8, 24, 24, score, 1]]))
        for score in (1.0, 0.4)
    )

    assert doubt.target.tolist() == pytest.approx([0.4 * value for value in sure.target.tolist()])


def test_a_place_answers_for_the_one_object_that_it_overlaps_most() -> None:
    """Two objects claim a place: the better overlap wins, the other goes without."""
    points, _ = grid(64, 64)
    boxes = _predictions([8, 8, 24, 24], place=10)
    truth = torch.tensor([[0, 8, 8, 24, 24, 1.0, 0], [0, 8, 8, 40, 40, 1.0, 1]])

    found = assign(torch.full((1, 84, 2), 0.5), boxes, points, truth)

    assert found.truth.tolist() == [0]


def test_objects_smaller_than_the_grid_still_have_a_place() -> None:
    """A 4 px object between four centres gets one of them."""
    points, _ = grid(64, 64)
    truth = torch.tensor([[0, 14.0, 14, 18, 18, 1.0, 0]])
    boxes = torch.cat([points - 4, points + 4], 1)[None]

    assert len(assign(torch.full((1, 84, 1), 0.5), boxes, points, truth).place) >= 1


def test_a_batch_without_objects_has_a_loss_that_can_be_learnt_from() -> None:
    """Negative pictures teach silence: the loss is finite and pushes all scores down."""
    points, _ = grid(64, 64)
    logits = torch.zeros(2, 84, 3, requires_grad=True)

    loss, parts = detection_loss(logits, torch.zeros(2, 84, 4, requires_grad=True), points, torch.zeros(0, 7))
    loss.backward()

    assert torch.isfinite(loss)
    assert parts["positives"] == 0
    assert bool((logits.grad > 0).all())


def test_descent_brings_boxes_and_scores_to_the_objects() -> None:
    """Some steps on free predictions end at the object, scored high there and low elsewhere."""
    points, _ = grid(64, 64)
    logits = torch.full((1, 84, 2), -3.0, requires_grad=True)
    sides = torch.full((1, 84, 4), 2.0, requires_grad=True)
    truth = torch.tensor([[0, 10.0, 12, 40, 50, 1.0, 1]])
    optimizer = torch.optim.Adam([logits, sides], lr=0.1)
    for _ in range(150):
        distance = sides.exp()
        boxes = torch.cat([points - distance[..., :2], points + distance[..., 2:]], -1)
        loss, _ = detection_loss(logits, boxes, points, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    best = int(logits[0, :, 1].argmax())

    assert float(iou(boxes[0, best].detach(), truth[0, 1:5])) > 0.9
    assert float(logits.detach().sigmoid()[0, best, 1]) > 0.8
    assert float(logits.detach().sigmoid()[0, :, 0].max()) < 0.1


@pytest.mark.parametrize(
    ("predicted", "most", "least"),
    [([0, 0, 10, 10], 1.0001, 0.9999), ([5, 0, 15, 10], 1 / 3, 0.2), ([20, 20, 30, 30], 0.0, -1.0)],
    ids=["equal", "half", "apart"],
)
def test_complete_iou_is_at_most_iou_and_falls_with_distance(predicted: list[float], most: float, least: float) -> None:
    """Equal boxes give 1; boxes apart give less than 0, so that there is a way back."""
    value = float(complete_iou(torch.tensor([predicted], dtype=torch.float32), torch.tensor([[0.0, 0, 10, 10]])))

    assert least <= value <= most


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.001), (0.05, 0.5), (0.1, 1.0), (0.55, 0.51), (1.0, 0.02), (2.0, 0.02)]
)
def test_the_rate_warms_up_and_follows_a_cosine(progress: float, rate: float) -> None:
    """A table of the schedule with a tenth of warm-up and a base of 1."""
    assert learning_rate(1.0, progress, 0.1) == pytest.approx(rate, abs=1e-6)


def test_the_average_moves_towards_the_weights_quickly_at_first() -> None:
    """After one step the average is nearly the weights; buffers that count are copied."""
    model = torch.nn.BatchNorm1d(2)
    ema = Ema(model, decay=0.999, tau=500)
    with torch.no_grad():
        model.weight.fill_(5.0)
        model.num_batches_tracked += 3

    ema.update(model)

    assert ema.model.weight.tolist() == pytest.approx([5.0, 5.0], abs=0.05)
    assert int(ema.model.num_batches_tracked) == 3
