"""`kill -9` of `carspotter lot` that writes into a table: whole pieces stay, and the same command completes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.storm.harness import PATIENCE

from carspotter.data.database import CHUNK, read_query, read_target, upsert
from carspotter.errors import SourceError
from helpers.storms import Storm, hardness
from helpers.tiny import colour_photo, write_tiny_bundle

pytestmark = [pytest.mark.storm, pytest.mark.slow]

ADS = 6 * CHUNK + 100
"""The last piece is a short one."""
COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
QUERY = "SELECT * FROM ads ORDER BY id"

Rows = tuple[tuple[str, ...], ...]


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where ads are read, and where answers are written: two files, or one server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ads.db'}", f"sqlite:///{tmp_path / 'out.db'}"
    server: str = request.getfixturevalue("postgresql")
    return server, server


def test_any_moment_of_a_lot_that_is_written_into_a_table(
    places: tuple[str, str], tmp_path: Path, storm: Storm
) -> None:
    ads, out = places
    lot = put_lot(tmp_path, ads)
    given = rows_of(ads, "ads")
    chance = np.random.default_rng(5)
    with storm(f"kill -9 of `lot` into a table of {ads.partition(':')[0]}") as tally:
        began = time.monotonic()
        assert run(lot, ads, f"{out}#whole") == 0
        seconds = time.monotonic() - began
        whole = rows_of(out, "whole")
        assert [row[0] for row in whole] == [row[0] for row in given]
        for at in range(3 * hardness()):  # some are done before they are struck
            table, after = f"t{at}", int(chance.integers(len(whole) // CHUNK))
            pause = chance.random() * seconds * CHUNK / len(whole)
            if tally.injected < hardness() and killed(lot, ads, f"{out}#{table}", after, pause):
                tally.count(fault_of(lot, (ads, out), table, given, whole))


def fault_of(lot: Path, places: tuple[str, str], table: str, given: Rows, whole: Rows) -> str | None:
    """What is wrong with a table whose writer was killed, then and after the same command; None: nothing."""
    ads, out = places
    there = rows_of(out, table)
    if len(there) % CHUNK and len(there) != len(whole):
        return f"{table} has {len(there)} rows, which are no whole pieces"
    if there != whole[: len(there)]:
        return f"{table} has other rows than those of a run that nobody killed"
    code = run(lot, ads, f"{out}#{table}")
    if code or rows_of(out, table) != whole:
        return f"{table} is not what a run that nobody killed gives (exit code {code})"
    return None if rows_of(ads, "ads") == given else "the ads themselves were changed"


# ---- a lot, the command, and its end --------------------------------------------------------------------------------


def put_lot(folder: Path, ads: str) -> Path:
    """A model, three photos, and the ads, of which a third declares another colour than its photo shows."""
    write_tiny_bundle(folder / "model")
    (folder / "photos").mkdir()
    for name, colour in COLOURS.items():
        (folder / "photos" / f"{name}.png").write_bytes(colour_photo(*colour))
    names = list(COLOURS)
    rows = [(f"{at:05}", names[at % 3], f"{names[at * at % 3]}.png") for at in range(ADS)]
    with upsert(read_target(f"{ads}#ads"), "id", dict.fromkeys(("id", "model", "photos"), str)) as writer:
        writer.write(rows)
    return folder


@contextmanager
def running(lot: Path, ads: str, output: str) -> Iterator[subprocess.Popen[bytes]]:
    words = ["lot", str(lot / "model"), ads, "--query", QUERY, "--photos", str(lot / "photos")]
    command = [sys.executable, "-m", "carspotter", *words, "--model-column", "model", "-o", output]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # as pytest has it
    with (
        (lot / "said").open("wb") as said,
        subprocess.Popen(command, stdout=said, stderr=said, env=environment) as process,
    ):
        yield process


def run(lot: Path, ads: str, output: str) -> int:
    with running(lot, ads, output) as process:
        return process.wait(PATIENCE)


def killed(lot: Path, ads: str, output: str, after: int, pause: float) -> bool:
    """Whether it was struck: so many seconds after so many pieces were there."""
    out, _, table = output.rpartition("#")
    with running(lot, ads, output) as process:
        while process.poll() is None and pieces(out, table) < after:
            time.sleep(0.005)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        return process.wait(PATIENCE) == -signal.SIGKILL


def pieces(out: str, table: str) -> int:
    try:
        ((rows,),) = read_query(out, f"SELECT count(*) FROM {table}", max_rows=1).rows  # noqa: S608
    except SourceError:  # there is no such table yet, or it is being written
        return 0
    return int(rows) // CHUNK


def rows_of(address: str, table: str) -> Rows:
    """All of them, by their ids; none where there is no table: it was killed before it made one."""
    try:
        return read_query(address, f"SELECT * FROM {table} ORDER BY id", max_rows=2 * ADS).rows  # noqa: S608
    except SourceError as fault:
        if "no such table" in str(fault) or "does not exist" in str(fault):
            return ()
        raise
