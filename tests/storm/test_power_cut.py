"""Power is cut in mid-write: what had been acknowledged until then is on the disk.

The disk is an ext4 image. The writer is stopped at a random moment and the image copied: the copy lacks whatever the
kernel still kept in memory, as a disk does after a cut. Only what was flushed to the disk can be in it.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.storm.harness import Child, Driver, mounted, need

from helpers.storms import Storm, hardness

MEGABYTES = 64
LONGEST = 1.5
"""Seconds between two cuts, at most (assumption: some runs are written in that time)."""
TRIES = 50
CUTS = 20
"""Of one disk, which then gives way to an empty one: every look at it asks for all that was ever written."""

pytestmark = [pytest.mark.storm, pytest.mark.slow]


def test_a_power_cut_at_any_moment(
    driver: Driver, second: Driver, template: Path, tmp_path: Path, storm: Storm
) -> None:
    chance, image, said = random.Random(11), tmp_path / "disk.img", tmp_path / "acknowledged"  # noqa: S311
    with storm("power cut while runs and checkpoints are written") as tally:
        while tally.injected < hardness():
            make_disk(image)
            with disk(image, tmp_path / "disk") as place:
                (place / "runs.db").write_bytes(template.read_bytes())
                child = driver.begin("work", "all", place)
                for _ in range(min(CUTS, hardness() - tally.injected)):
                    time.sleep(chance.uniform(0, LONGEST))
                    copy = tmp_path / f"{tally.injected}.img"
                    said.write_text(cut(child, driver, image, copy))
                    tally.count(lost_after(copy, tmp_path / "after", second, said))
                    child.go_on()  # not sooner: what it wrote meanwhile would make the next look longer, and so on
                child.kill()
                assert child.wait() == -signal.SIGKILL, driver.said.read_text()


def make_disk(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(MEGABYTES * 2**20)
    subprocess.run([need("mkfs.ext4"), "-q", "-F", str(image)], check=True)


@contextmanager
def disk(image: Path, place: Path) -> Iterator[Path]:
    with mounted(place, "-o", "loop", str(image)):
        yield place


def cut(child: Child, driver: Driver, image: Path, copy: Path) -> str:
    """The disk as a cut at this moment leaves it, and what had been acknowledged before; the writer stays stopped.

    The kernel goes on writing by itself, so the image is copied until two copies are equal: both are then the disk of
    one moment between them.
    """
    child.kill(signal.SIGSTOP)
    said = driver.said.read_text()
    copy.write_bytes(image.read_bytes())
    for _ in range(TRIES):
        if (now := image.read_bytes()) == copy.read_bytes():
            break
        copy.write_bytes(now)
    else:
        raise AssertionError("the disk does not come to rest")
    return said


def lost_after(image: Path, place: Path, second: Driver, said: Path) -> str | None:
    """What was acknowledged and is not on the disk, in a sentence; None where everything is.

    A process of its own looks: what it opened is closed when it has ended, and the disk can be taken away.
    """
    with disk(image, place):
        code = second.begin("look", place, said).wait()
    image.unlink()
    found = second.said.read_text()
    return None if (code, found) == (0, "") else f"exit code {code}: {found}"
