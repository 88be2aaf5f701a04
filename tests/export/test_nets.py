"""The networks: sizes, exactness of fusing, and the preprocessing of lepton-presence against OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.contract import Metadata
from export.nets.nano import Nano, NanoConfig, grid
from export.nets.presence import FILTERS, SIZE, DeployedPresence, Preprocess, Presence
from export.runtime import Detector
from export.to_onnx import Deployed, export_module

from .trained import trained_like

torch.set_num_threads(1)  # tests share the machine


def test_the_default_detector_is_small() -> None:
    """At most 2 M parameters and 1 GFLOP (two FLOPs a multiply-add) at the shipped 416 x 320."""
    model = Nano().eval()
    macs = 0

    def count(module: torch.nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        macs += module.weight.numel() * out.shape[2] * out.shape[3]

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, 320, 416))

    assert sum(p.numel() for p in model.parameters()) <= 2_000_000
    assert 2 * macs <= 1_000_000_000


def test_fusing_changes_no_output() -> None:
    """Folding normalisation and skips into the kernels is exact up to rounding."""
    torch.manual_seed(0)
    model = trained_like(Nano(NanoConfig(stem=8, stages=(16, 16, 32, 32), neck=16, head=16)))
    picture = torch.rand(2, 3, 64, 96) * 255
    with torch.no_grad():
        logits, boxes = model(picture)
        fused_logits, fused_boxes = model.fuse()(picture)

    torch.testing.assert_close(fused_logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fused_boxes, boxes, atol=1e-2, rtol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


def test_the_deployed_detector_gives_the_networks_best_places_sorted() -> None:
    """Rows are the places by falling best score, with the boxes and classes that the network gave them."""
    torch.manual_seed(0)
    model = trained_like(Nano(NanoConfig(classes=3, stem=8, stages=(16, 16, 32, 32), neck=16, head=16)))
    pictures = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        logits, boxes = model(pictures.float())
        rows = Deployed(model, 96, 64)(pictures)

    best, label = logits.sigmoid().max(2)
    order = best.argsort(1, descending=True)
    assert rows.shape == (2, len(grid(64, 96)[1]), 6)
    torch.testing.assert_close(rows[..., 4], best.gather(1, order), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(rows[0, 0, :4], boxes[0, order[0, 0]], atol=0.05, rtol=1e-3)
    assert int(rows[0, 0, 5]) == int(label[0, order[0, 0]])


def test_the_grid_gives_centres_fine_to_coarse() -> None:
    """Strides 8, 16, 32 over 64 x 32: 32 + 8 + 2 places."""
    points, strides = grid(32, 64)

    assert len(points) == 42
    assert points[0].tolist() == [4, 4]
    assert points[-1].tolist() == [48, 16]
    assert strides.tolist() == [8] * 32 + [16] * 8 + [32] * 2


def _by_opencv(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Preprocess with OpenCV itself: resize, blur, min-max."""
    small = cv2.resize(picture, (SIZE, SIZE))
    blurred = cv2.GaussianBlur(small, (5, 5), 0)
    normal = cv2.normalize(blurred, np.empty(0), 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)
    return np.asarray(normal, np.float32).transpose(2, 0, 1)


def _by_us(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    return np.asarray(Preprocess(picture.shape[1], picture.shape[0])(planes)[0].numpy())


SIZES = [(224, 224), (448, 448), (640, 360), (1280, 720), (353, 287), (160, 120), (112, 640), (97, 31), (2, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_preprocessing_gives_what_opencv_gives_on_drawn_pictures(size: tuple[int, int]) -> None:
    """Smooth scenes and noise, larger and smaller than 224: at most 1e-3 from OpenCV on the normalised picture."""
    rng = np.random.default_rng(size[0])
    smooth = cv2.resize(rng.integers(0, 256, (9, 16, 3)).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    for picture in (np.asarray(smooth, np.uint8), noise):
        assert np.abs(_by_us(picture) - _by_opencv(picture)).max() <= 1e-3


@pytest.mark.material
def test_preprocessing_gives_what_opencv_gives_on_real_pictures(material: Path) -> None:
    """The two well-known test pictures and some of the labelled ones: at most 1e-3."""
    paths = [material / "models/bus.jpg", material / "models/zidane.jpg"]
    paths += sorted((material / "datasets/coco128/images").glob("*.jpg"))[:10]
    for path in paths:
        picture = np.asarray(cv2.imread(str(path)), np.uint8)
        assert np.abs(_by_us(picture) - _by_opencv(picture)).max() <= 1e-3, path.name


def test_a_picture_of_one_colour_normalises_to_zero() -> None:
    """No division by nothing: a black, white or grey picture gives zeros, as OpenCV does."""
    for level in (0, 114, 255):
        assert not _by_us(np.full((48, 64, 3), level, np.uint8)).any()


def test_the_network_is_the_one_of_the_specification() -> None:
    """Layer by layer: 32, 64, 128, 256 filters of 3x3, pooling, dense 1024, 256, 128, 1."""
    layers = list(Presence().layers)
    convolutions = [m for m in layers if isinstance(m, torch.nn.Conv2d)]
    dense = [m for m in layers if isinstance(m, torch.nn.Linear)]

    assert tuple(m.out_channels for m in convolutions) == FILTERS == (32, 64, 128, 256)
    assert all(m.kernel_size == (3, 3) and m.padding == (0, 0) for m in convolutions)
    assert [type(m) for m in layers[:3]] == [torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d]
    assert [m.in_features for m in dense] == [12 * 12 * 256, 1024, 256, 128]
    assert dense[-1].out_features == 1


def test_presence_speaks_the_contract(tmp_path: Path) -> None:
    """One row: the whole picture as its box, in the camera's pixels after the runtime; the score of the network."""
    torch.manual_seed(0)
    model = Presence().eval()
    path = tmp_path / "presence.onnx"
    metadata = Metadata(name="lepton-presence", labels=("person",), suppressed=True, fit="stretch")
    export_module(DeployedPresence(model, 320, 192), path, (320, 192), metadata)
    picture = np.random.default_rng(0).integers(0, 256, (192, 320, 3)).astype(np.uint8)

    rows = Detector(path, threads=1).detect([picture], 0.0)[0]

    with torch.no_grad():
        score = float(model(torch.from_numpy(_by_opencv(picture)[::-1].copy())[None]).sigmoid())
    np.testing.assert_allclose(rows[0, :4], [0, 0, 320, 192])
    assert rows[0, 4] == pytest.approx(score, abs=1e-3)


class _Example(torch.nn.Module):
    """The worked example as a detector: the four sums stand in the box of the first row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 3, bias=False)
        torch.nn.init.ones_(self.conv.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sums = self.conv(images[:, :1].float()).flatten(1)
        return torch.cat([sums, torch.zeros_like(sums[:, :2])], 1)[:, None]


def test_the_worked_example_of_the_convolution(tmp_path: Path) -> None:
    """1..16 as 4x4 under a 3x3 kernel of ones gives 54, 63, 90, 99 in the exported file."""
    path = tmp_path / "example.onnx"
    export_module(_Example(), path, (4, 4), Metadata(name="example", labels=("sum",), suppressed=True))
    picture = np.arange(1, 17, dtype=np.uint8).reshape(1, 1, 4, 4).repeat(3, axis=1)

    assert Detector(path, threads=1).run(picture)[0, 0, :4].tolist() == [54, 63, 90, 99]
