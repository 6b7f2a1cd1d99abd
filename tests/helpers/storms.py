"""Storms: how many faults they bring in, what became of each, and the table at the end of a test run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

FAULTS = "CARSPOTTER_STORM"
SHORT = 3
"""Faults of each kind in a short form. Assumption: CI has four minutes for all storms; `make storm` asks for 200."""
PROPERTY = "storm"


def hardness() -> int:
    """Faults that a storm brings in, at most: $CARSPOTTER_STORM, else a few."""
    return int(os.environ.get(FAULTS, SHORT))


@dataclass
class Tally:
    """What a storm brought in, and what became of it.

    Attributes:
        what: the fault, in words.
        injected: faults that really struck.
        survived: those after which everything acknowledged was there, and the work went on.
        lost: a sentence for each of the others.
    """

    what: str
    injected: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)

    def count(self, lost: str | None = None, faults: int = 1) -> None:
        """Faults whose outcome is known: survived, or lost with this sentence."""
        self.injected += faults
        if lost is None:
            self.survived += faults
        else:
            self.lost += [lost] * faults


Storm = Callable[[str], AbstractContextManager[Tally]]


@pytest.fixture
def storm(record_property: Callable[[str, object], None]) -> Storm:
    """Opens a tally; when it is closed something must have struck, and nothing may be lost."""

    @contextmanager
    def counted(what: str) -> Iterator[Tally]:
        tally = Tally(what)
        yield tally
        record_property(PROPERTY, [what, tally.injected, tally.survived, len(tally.lost)])
        assert tally.injected, f"{what}: nothing struck"
        assert not tally.lost, "\n".join(tally.lost)
        assert tally.survived == tally.injected

    return counted


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A row for each storm, and how many ran; also where the tests ran in several processes."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind if hasattr(report, "nodeid")]
    rows = [value for report in reports for key, value in getattr(report, "user_properties", []) if key == PROPERTY]
    rows = sorted({tuple(row) for row in rows})
    skipped = {
        report.nodeid for report in terminalreporter.stats.get("skipped", ()) if re.search(r"\bstorm/", report.nodeid)
    }
    if not rows and not skipped:
        return
    terminalreporter.section("storms")
    terminalreporter.write_line(f"{'what':<66}{'injected':>9}{'survived':>9}{'lost':>6}")
    for what, injected, survived, lost in rows:
        terminalreporter.write_line(f"{what:<66}{injected:>9}{survived:>9}{lost:>6}")
    total = [sum(row[at] for row in rows) for at in (1, 2, 3)]
    terminalreporter.write_line(f"{'all':<66}{total[0]:>9}{total[1]:>9}{total[2]:>6}")
    terminalreporter.write_line(f"storms: {len(rows)} rows ran, {len(skipped)} tests skipped")
