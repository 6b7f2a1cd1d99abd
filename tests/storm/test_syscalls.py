"""Each system call of a save fails in turn, or is the last that the process makes.

Afterwards the older version is whole, or the new one is; the new one where the save said so. The failure is told in a
line. Then the next save must succeed.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.storm.harness import Driver, Strace, calls_between, is_clear
from tests.storm.saves import BEGINS, ENDS, SAVES

from carspotter.errors import EXIT_DONE
from helpers.storms import Storm, hardness

KINDS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "kill -9": "signal=KILL"}
NEVER_FAIL = frozenset({"futex", "getpid", "gettid", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_yield"})
"""Left out: by the manual they cannot fail in this way, and the C library ends the process when a futex does."""

pytestmark = [pytest.mark.storm, pytest.mark.slow]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(tmp_path_factory.mktemp("driver")) as ready:
        yield ready


@pytest.mark.parametrize("kind", SAVES)
@pytest.mark.parametrize("fault", KINDS)
def test_every_system_call_of_a_save(kind: str, fault: str, driver: Driver, tmp_path: Path, storm: Storm) -> None:
    calls = list(calls_of(kind, driver, tmp_path))
    assert len(calls) > 3
    if len(calls) > hardness():
        calls = random.Random(7).sample(calls, hardness())  # noqa: S311
    with storm(f"{fault} at a system call of a {kind}'s save") as tally:
        for name, number in calls:
            struck, lost = strike(kind, f"{name}:{KINDS[fault]}:when={number}", driver, tmp_path / f"{name}{number}")
            if struck or lost:
                tally.count(lost)


@pytest.mark.parametrize("fault", KINDS.values())
def test_a_fault_that_does_not_strike_is_not_counted(fault: str, driver: Driver, tmp_path: Path) -> None:
    assert strike("journal", f"fsync:{fault}:when=9999", driver, tmp_path / "journal") == (False, None)


def calls_of(kind: str, driver: Driver, folder: Path) -> list[tuple[str, int]]:
    """What a save asks of the system when nothing fails: names, and the how many-th of that name."""
    place, log = folder / "whole", folder / "calls"
    place.mkdir()
    assert save(kind, place, driver, log) == EXIT_DONE, driver.said.read_text()
    assert SAVES[kind].newest(place) == 1
    return [call for call in calls_between(log, BEGINS, ENDS) if call[0] not in NEVER_FAIL]


def save(kind: str, place: Path, driver: Driver, log: Path, *options: str) -> int:
    """Version 0, and then version 1 while strace looks; the exit code."""
    child = driver.begin("save", kind, place)
    child.await_stop()
    with Strace(child.pid, log, *options):
        child.go_on()
        return child.wait()


def strike(kind: str, fault: str, driver: Driver, place: Path) -> tuple[bool, str | None]:
    """Whether the fault struck, by strace's log and the process's end; and what is wrong after it, if anything."""
    place.mkdir()
    log = place / "calls"
    code = save(kind, place, driver, log, "-e", f"inject={fault}")
    struck = code == -signal.SIGKILL if "signal=" in fault else "(INJECTED)" in log.read_text(errors="replace")
    return struck, wrong(kind, fault, driver, place, code)


def wrong(kind: str, fault: str, driver: Driver, place: Path, code: int) -> str | None:
    """What is wrong after a save that ended with this code, or nothing."""
    said = driver.said.read_text(encoding="utf-8", errors="replace")
    try:
        newest = SAVES[kind].newest(place)
    except Exception as broken:  # noqa: BLE001 - whatever it is, it is a loss, and it is told
        return f"{fault}: neither version is there ({type(broken).__name__}: {broken}); exit code {code}: {said}"
    if newest not in (0, 1) or (code == EXIT_DONE and newest != 1):
        return f"{fault}: acknowledged by exit code {code}, but version {newest} is there"
    if not is_clear(said) or (code > 0 and said.count("\n") != 1):
        return f"{fault}: no clear line: {said}"
    SAVES[kind].go_on(place)(newest + 1)
    return None if SAVES[kind].newest(place) == newest + 1 else f"{fault}: the next save was not kept"
