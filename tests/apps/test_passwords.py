"""A PostgreSQL server that asks for a password: what is said without it, and that it is nowhere to be found with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from carspotter.apps.cli import main
from carspotter.data.database import read_query, read_target, upsert
from carspotter.errors import EXIT_UNUSABLE, TrackingError
from carspotter.recipe import Recipe, Stage
from carspotter.records import Dataset, Photo
from carspotter.tracking.machine import this_machine
from carspotter.tracking.runs import open_store
from carspotter.training.space import Axis, Space
from carspotter.training.study import open_study
from helpers.tiny import colour_photo, write_tiny_bundle

pytestmark = pytest.mark.slow

SECRETS = ("s3cret", "wr0ng")
SPACE = Space("s", "", "fast", (), (Axis("stage.0.lr", low=1e-4, high=1e-1, log=True),))
ASKS = "asks for a password; give it in ~/.pgpass or PGPASSWORD (docs/databases.md)"
REFUSES = "refuses the user or the password; check the user, ~/.pgpass and PGPASSWORD"
Address = Callable[[str], str]


@pytest.fixture(autouse=True)
def _no_other_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have one of their own."""
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.chdir(tmp_path)


def use_lot(folder: Path, address: str) -> int:
    write_tiny_bundle(folder / "model")
    (folder / "photos").mkdir(exist_ok=True)
    (folder / "photos" / "red.png").write_bytes(colour_photo(250, 0, 0))
    ads = "SELECT '1' AS id, 'red' AS model, 'red.png' AS photos"
    places = ["--photos", str(folder / "photos"), "--model-column", "model", "-o", f"{address}#checked"]
    return main(["lot", str(folder / "model"), address, "--query", ads, *places])


def use_study(address: str) -> None:
    with open_study("s", SPACE, {}, by="log_loss", seed=0, storage=address) as study:
        study.finish(study.ask({}).number, 1.0, {})


def keep_a_run() -> None:
    recipe = Recipe(name="tiny", stage=(Stage(name="head", epochs=1, height=32, width=48, lr=0.1),))
    photos = tuple(Photo(f"{name}.jpg", b"", label=name, digest=64 * name) for name in "ab")
    dataset = Dataset(photos=photos, classes=("a", "b"), codes=("0", "1"), origin="photos/tiny")
    with open_store().start(recipe, dataset, this_machine(threads=1)) as run:
        run.finish()


def one_line(said: str) -> str:
    (line,) = said.splitlines()
    assert not any(secret in line for secret in SECRETS)
    return line


@pytest.mark.parametrize(("password", "said"), [("@", ASKS), (":wr0ng@", REFUSES)], ids=["missing", "wrong"])
def test_what_is_missing_or_wrong_is_one_line(
    guarded_postgresql: Address,
    password: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    address = guarded_postgresql(password)
    shown = address.replace(":wr0ng@", ":***@").partition("?")[0] + "?***"
    assert use_lot(tmp_path, address) == EXIT_UNUSABLE
    assert one_line(capfd.readouterr().err) == f"error: {shown} {said}"
    monkeypatch.setenv("CARSPOTTER_RUNS", address)
    assert main(["runs", "ls"]) == EXIT_UNUSABLE
    assert one_line(capfd.readouterr().err) == f"error: run database {shown} {said}"
    with pytest.raises(TrackingError) as told:
        use_study(address)
    assert one_line(str(told.value)) == f"study database {shown} {said}"
    assert not any(secret in caplog.text for secret in SECRETS)


@pytest.mark.parametrize("how", ["address", "setting", "variable", "file"])
def test_the_right_one_works_however_it_is_given(
    guarded_postgresql: Address, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = guarded_postgresql(":s3cret@" if how == "address" else "@")
    if how == "setting":
        address += "&password=s3cret"
    elif how == "variable":
        monkeypatch.setenv("PGPASSWORD", "s3cret")
    elif how == "file":
        (tmp_path / "pgpass").write_text("*:*:*:me:s3cret\n")
        (tmp_path / "pgpass").chmod(0o600)
    assert read_query(address, "SELECT 1 AS a", max_rows=1).rows == (("1",),)
    with upsert(read_target(f"{address}#t_{how}"), "id", {"id": str}) as writer:
        writer.write([("a",)])
    assert open_store(address).list() is not None
    use_study(address)


def test_it_is_printed_logged_and_kept_nowhere(
    guarded_postgresql: Address,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    address = guarded_postgresql(":s3cret@")
    monkeypatch.setenv("CARSPOTTER_RUNS", address)
    keep_a_run()
    use_study(address)
    assert use_lot(tmp_path, address) == 0
    assert main(["runs", "ls"]) == 0
    said = "".join(capfd.readouterr())
    assert "1 ad in postgresql://me:***@/postgres?***#checked" in said
    tables = read_query(
        address,
        "SELECT format('%I.%I', schemaname, tablename) AS t FROM pg_tables "
        "WHERE schemaname IN ('public', 'carspotter_studies')",
        max_rows=1000,
    ).column("t")
    assert {"public.runs", "public.checked", "carspotter_studies.trials"} <= set(tables)
    kept = [read_query(address, f"SELECT t::text AS row FROM {name} AS t", max_rows=100_000) for name in tables]  # noqa: S608
    said += caplog.text + "".join(row for table in kept for (row,) in table.rows)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("artifacts" in path.parts for path in files)
    said += "".join(path.read_bytes().decode(errors="replace") for path in files)
    assert "s3cret" not in said
