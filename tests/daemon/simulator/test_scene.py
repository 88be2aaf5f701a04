"""The demo's film shows what its truth says, and the shipped model sees it."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime as ort
import pytest

import daemon
from daemon.simulator.scene import DEFAULT_SECONDS, WALK, draw_yard, person_at, write_scene

MODEL = Path(daemon.__file__).parent / "models" / "lepton-nano.onnx"
FPS = 4
SIZE = (1280, 720)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    write_scene(path, fps=FPS, size=SIZE)
    return path


def pictures(film: Path) -> list[np.ndarray]:
    """Decode the frames, BGR."""
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def is_empty(index: int) -> bool:
    """Tell whether nothing of the person, and of what she carries, is in this frame."""
    return not WALK[1][0] < index / FPS / DEFAULT_SECONDS < WALK[-2][0]


def iou(one: np.ndarray, other: tuple[float, float, float, float]) -> float:
    overlap = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(overlap, 0)))
    areas = [float((x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in (one, other)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize(
    ("share", "visible"), [(0.0, None), (0.15, None), (0.4, 1.0), (0.5, 1.0), (0.62, 1.0), (0.85, None), (0.999, None)]
)
def test_the_person_is_away_at_both_ends_of_the_film(share: float, visible: float | None) -> None:
    """So that the film can be repeated without a jump, in any length."""
    for seconds in (8.0, DEFAULT_SECONDS):
        presence = person_at(share * seconds, seconds, SIZE)
        assert (presence and presence.visible) == visible


def test_the_film_is_encoded_as_cameras_do(film: Path) -> None:
    """H.264 of the asked size and length, in presentation order, with a key frame every second."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]

    assert (stream.codec_context.name, stream.width, stream.height) == ("h264", *SIZE)
    assert [packet.is_keyframe for packet in packets] == [at % FPS == 0 for at in range(round(DEFAULT_SECONDS * FPS))]
    assert all(packet.pts == packet.dts for packet in packets)


def test_what_differs_from_the_empty_yard_lies_where_the_person_is(film: Path) -> None:
    """The truth's box holds the body; only what she carries stands out of it to the right."""
    yard = draw_yard(SIZE).astype(np.int16)

    for index, picture in enumerate(pictures(film)):
        presence = person_at(index / FPS)
        changed = cv2.erode((np.abs(picture - yard).max(axis=2) > 60).astype(np.uint8), np.ones((5, 5)))
        if is_empty(index):
            assert not changed.any()
        if presence is None or presence.visible < 1:
            continue
        x1, y1, x2, y2 = (round(edge) for edge in presence.box)
        left, top, width, height = cv2.boundingRect(changed)
        assert changed[y1:y2, x1:x2].sum() > 0.6 * changed.sum()
        assert abs(left - x1) < 25
        assert abs(top - y1) < 25
        assert left + width < x2 + 130
        assert abs(top + height - y2) < 25


@pytest.mark.skipif(not MODEL.exists(), reason=f"no {MODEL.name} in the package yet")
def test_the_shipped_model_sees_the_person_and_nothing_else(film: Path) -> None:
    """At its own threshold: on the body in four of five frames that show all of it, in no frame of the empty yard."""
    session = ort.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    metadata = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    threshold, person = metadata["lepton.score_threshold"], metadata["lepton.labels"].index("person")
    height, width = session.get_inputs()[0].shape[2:]
    scale = min(height / SIZE[1], width / SIZE[0])

    seen, false_alarms = [], []
    for index, picture in enumerate(pictures(film)):
        canvas = np.full((height, width, 3), 114, np.uint8)
        fitted = cv2.resize(picture, (round(SIZE[0] * scale), round(SIZE[1] * scale)), interpolation=cv2.INTER_AREA)
        canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
        rows = session.run(None, {"images": canvas[None, :, :, ::-1].transpose(0, 3, 1, 2).copy()})[0][0]
        boxes = rows[(rows[:, 4] >= threshold) & (rows[:, 5] == person), :4] / scale
        presence = person_at(index / FPS)
        if is_empty(index):
            false_alarms.append(len(boxes))
        elif presence and presence.visible == 1:
            seen.append(any(iou(box, presence.box) > 0.5 for box in boxes))

    assert len(seen) > 20
    assert len(false_alarms) > 20
    assert np.mean(seen) >= 0.8
    assert sum(false_alarms) == 0
