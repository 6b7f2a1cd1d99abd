"""How fast requests come, and what that makes of the time they may wait."""

from __future__ import annotations

import pytest

from carspotter.apps.serving.arrivals import FADES, Arrivals
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.pool import Pool


def test_a_steady_rate_is_found_and_forgotten() -> None:
    now = 100.0
    arrivals = Arrivals(lambda: now)
    assert arrivals.rate == 0
    for _ in range(140 * 5):  # 140 a second for five seconds
        now += 1 / 140
        arrivals.add()
    assert arrivals.rate == pytest.approx(140, rel=0.02)
    now += 10 * FADES
    assert 0 < arrivals.rate < 0.01


def test_a_flood_is_known_after_a_tenth_of_a_second() -> None:
    now = 0.0
    arrivals = Arrivals(lambda: now)
    for _ in range(16):
        now += 1 / 140
        arrivals.add()
    assert arrivals.rate > 140 / 5  # more than what a worker takes, of which it is five times


def test_what_one_page_sends_at_once_is_no_flood() -> None:
    pool = Pool(Limits(workers=1, wait=1.0), list)
    for _ in range(9):
        pool.came()
    assert pool.load < 1
    assert pool.patience == 1


def test_a_request_may_wait_less_the_more_of_them_come() -> None:
    found = []
    for requests in (10, 50, 250):
        pool = Pool(Limits(workers=1, wait=1.0), list)
        for _ in range(requests):
            pool.came()
        found.append(pool.patience)
        assert pool.patience * pool.load == pytest.approx(1, rel=0.1)  # time goes on meanwhile
    assert found[0] > 3 * found[1] > 9 * found[2] > 0


def test_more_workers_make_a_load_smaller() -> None:
    one, four = (Pool(Limits(workers=number), list) for number in (1, 4))
    for pool in (one, four):
        for _ in range(100):
            pool.came()
    assert one.load == pytest.approx(4 * four.load, rel=0.1)
