"""Waits between attempts, as tables."""

import pytest

from daemon.camera.backoff import AUTH_S, CAP_S, JITTER, Backoff
from daemon.errors import DisconnectReason


def test_waits_double_up_to_a_cap() -> None:
    """Half a second at first, half a minute at most."""
    backoff = Backoff()

    assert [backoff.wait_s("timeout", 0.5) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1 - JITTER), (0.5, 1.0), (1.0, 1 + JITTER)])
def test_jitter_spreads_cameras_to_both_sides(chance: float, share: float) -> None:
    """A hundred cameras behind one switch do not come back in one instant."""
    assert Backoff().wait_s("refused", chance) == pytest.approx(0.5 * share)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_wrong_credentials_are_never_hammered(chance: float) -> None:
    """A minute, then five, with jitter only upwards."""
    backoff = Backoff()

    waits = [backoff.wait_s("auth", chance) for _ in range(3)]

    assert waits[0] >= AUTH_S[0] == 60
    assert min(waits[1:]) >= AUTH_S[1] == 300


@pytest.mark.parametrize("reason", ["timeout", "auth"])
def test_after_success_waits_begin_anew(reason: DisconnectReason) -> None:
    """A camera that worked for a day is tried again at once."""
    backoff = Backoff()
    first = backoff.wait_s(reason, 0.5)
    backoff.wait_s(reason, 0.5)

    backoff.succeeded()

    assert backoff.wait_s(reason, 0.5) == first


def test_a_hundred_thousand_failures_do_not_overflow() -> None:
    """A camera that was dismantled months ago."""
    backoff = Backoff()

    assert max(backoff.wait_s("refused", 1.0) for _ in range(100_000)) == pytest.approx(CAP_S * (1 + JITTER))
