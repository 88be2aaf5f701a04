"""Zones: a point is in a polygon, or on its edge, or outside."""

import pytest

from daemon.events.zones import contains, foot, relative, zone_of

SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
ARROW = ((0.0, 0.0), (1.0, 0.5), (0.0, 1.0), (0.5, 0.5))  # concave: (0.25, 0.5) is outside


@pytest.mark.parametrize(
    ("polygon", "point", "inside"),
    [
        (SQUARE, (0.5, 0.5), True),
        (SQUARE, (0.1, 0.5), False),
        (SQUARE, (0.9, 0.5), False),
        (SQUARE, (0.5, 0.1), False),
        (SQUARE, (0.2, 0.5), True),
        (SQUARE, (0.8, 0.8), True),
        (SQUARE, (0.9, 0.8), False),
        (SQUARE[::-1], (0.5, 0.5), True),
        (ARROW, (0.25, 0.5), False),
        (ARROW, (0.75, 0.5), True),
        (ARROW, (0.25, 0.2), True),
        (((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)), (0.5, 1.0), True),
    ],
)
def test_a_point_is_inside_or_outside(polygon: tuple, point: tuple, inside: bool) -> None:
    """Convex, concave, either direction, on edges and corners."""
    assert contains(polygon, point) is inside


def test_an_object_stands_where_its_foot_is() -> None:
    """The middle of the lower edge, as fractions, cut to the picture."""
    box = relative((-20, 100, 60, 500), 400, 400)

    assert box == (0.0, 0.25, 0.15, 1.0)
    assert foot(box) == (0.075, 1.0)


def test_the_first_named_zone_that_holds_the_point_counts() -> None:
    """Names that the camera does not have hold nothing."""
    zones = {"yard": SQUARE, "all": ((0, 0), (1, 0), (1, 1), (0, 1))}

    assert zone_of(zones, ("moon", "yard", "all"), (0.5, 0.5)) == "yard"
    assert zone_of(zones, ("moon", "yard", "all"), (0.1, 0.1)) == "all"
    assert zone_of(zones, ("moon",), (0.1, 0.1)) is None
