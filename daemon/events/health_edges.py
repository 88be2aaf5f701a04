"""What changed between two reports of the whole health: edges made of levels.

The supervisor says each second how things are; the journal knows how they were when somebody was last told. Neither a
killed supervisor nor a killed events process can lose an edge or tell one twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..clock import iso_utc
from ..messages import CameraHealth, HealthReport
from .alert_schema import Health

DETECTOR = "detector"
UP, DOWN = b"up", b"down"


@dataclass(frozen=True, slots=True)
class Edge:
    """A message to be told, and what is to be remembered as told."""

    subject: str
    level: bytes
    message: Health
    camera: str | None = None  # whose events end with it


def edges(report: HealthReport, told: Mapping[str, bytes], utc_ns: int) -> list[Edge]:
    """Return what must be told; `told` maps subjects to the level that was told last."""
    found = []
    for camera in report.cameras:
        level = UP if camera.up else DOWN
        if level != told.get(subject_of(camera.camera)) and camera.state != "disabled":
            found.append(_camera_edge(camera, level, utc_ns))
        if (edge := _recording_edge(camera, told.get(recording_of(camera.camera)), utc_ns)) is not None:
            found.append(edge)
    level, before = (UP if report.detector_up else DOWN), told.get(DETECTOR)
    if level != before:
        found.append(_detector_edge(report, level, utc_ns))
    return found


def forgotten(report: HealthReport, told: Mapping[str, bytes]) -> list[str]:
    """Return the subjects that are no longer there, or are switched off: they begin anew when they come back."""
    present = {subject_of(camera.camera) for camera in report.cameras if camera.state != "disabled"}
    present |= {recording_of(camera.camera) for camera in report.cameras if camera.recording != "off"}
    ours = (subject_of(""), recording_of(""))
    return [subject for subject in told if subject.startswith(ours) and subject not in present]


def subject_of(camera: str) -> str:
    """Return the name under which a camera's level is remembered."""
    return f"camera.{camera}"


def recording_of(camera: str) -> str:
    """Return the name under which the level of a camera's recording is remembered."""
    return f"recording.{camera}"


def _camera_edge(camera: CameraHealth, level: bytes, utc_ns: int) -> Edge:
    message = Health(
        seq=0,
        utc=iso_utc(utc_ns),
        kind="camera.up" if camera.up else "camera.down",
        severity="info" if camera.up else "critical",
        camera=camera.camera,
        state=camera.state,
        reason=camera.reason,
        since_utc=iso_utc(camera.since_utc_ns),
    )
    return Edge(subject_of(camera.camera), level, message, camera.camera)


def _recording_edge(camera: CameraHealth, told: bytes | None, utc_ns: int) -> Edge | None:
    """Return what is to be told; that a recording works is news only after it did not."""
    if camera.recording not in ("up", "down") or camera.recording.encode() == (told or UP):
        return None
    message = Health(
        seq=0,
        utc=iso_utc(utc_ns),
        kind="recording.up" if camera.recording == "up" else "recording.down",
        severity="info" if camera.recording == "up" else "critical",
        camera=camera.camera,
        state=camera.state,
        reason=camera.recording_reason,
        since_utc=iso_utc(camera.recording_since_utc_ns),
    )
    return Edge(recording_of(camera.camera), camera.recording.encode(), message, camera.camera)


def _detector_edge(report: HealthReport, level: bytes, utc_ns: int) -> Edge:
    message = Health(
        seq=0,
        utc=iso_utc(utc_ns),
        kind="detector.up" if report.detector_up else "detector.down",
        severity="info" if report.detector_up else "critical",
        reason=report.detector_reason,
        since_utc=iso_utc(report.detector_since_utc_ns),
    )
    return Edge(DETECTOR, level, message)
