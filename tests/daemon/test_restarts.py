"""Back-off between the lives of a process."""

from daemon.supervision.restarts import HEALTHY_AFTER_S, RestartPolicy


def test_the_first_restart_is_quick_and_later_ones_wait_longer_up_to_a_cap() -> None:
    """0.2 s doubling to 30 s when it ends at once each time."""
    policy = RestartPolicy(lambda: 0.0)

    delays = [policy.delay_s(0.1) for _ in range(10)]

    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_jitter_only_shortens() -> None:
    """Full jitter takes a quarter off, so that many processes do not come back in the same instant."""
    assert RestartPolicy(lambda: 1.0).delay_s(0.1) == 0.2 * 0.75


def test_a_healthy_life_begins_the_back_off_anew() -> None:
    """After a minute of life an end counts as the first again."""
    policy = RestartPolicy(lambda: 0.0)
    for _ in range(6):
        policy.delay_s(1.0)

    assert policy.delay_s(HEALTHY_AFTER_S) == 0.2


def test_a_crash_loop_is_said_until_a_life_has_been_healthy() -> None:
    """Five ends in a row are a loop, also while the next life is young."""
    policy = RestartPolicy(lambda: 0.0)
    for _ in range(4):
        policy.delay_s(1.0)
    assert not policy.is_crash_loop(None)

    policy.delay_s(1.0)

    assert policy.is_crash_loop(None)
    assert policy.is_crash_loop(5.0)
    assert not policy.is_crash_loop(HEALTHY_AFTER_S)
