"""Areas of a picture: polygons in fractions of width and height, and the point by which an object stands in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Point = tuple[float, float]
Box = tuple[float, float, float, float]


def relative(box: Box, width: int, height: int) -> Box:
    """Return a box in pixels as fractions of the picture, cut to 0..1."""
    x1, y1, x2, y2 = box
    return (_cut(x1 / width), _cut(y1 / height), _cut(x2 / width), _cut(y2 / height))


def foot(box: Box) -> Point:
    """Return the middle of the lower edge: where a standing object touches the ground."""
    return (box[0] + box[2]) / 2, box[3]


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Return whether the point lies in the polygon or on its edge.

    Even-odd rule (Shimrat 1962); the edge belongs to the area, so that a zone drawn to the picture's border holds the
    objects that are cut off by it.
    """
    x, y = point
    inside = False
    for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if cross == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return True
        if (ay > y) != (by > y) and (cross > 0) == (by > ay):
            inside = not inside
    return inside


def zone_of(zones: Mapping[str, Sequence[Point]], names: Sequence[str], point: Point) -> str | None:
    """Return the first of the named zones that holds the point; a name that the camera does not have holds nothing."""
    return next((name for name in names if name in zones and contains(zones[name], point)), None)


def _cut(fraction: float) -> float:
    return min(1.0, max(0.0, fraction))
