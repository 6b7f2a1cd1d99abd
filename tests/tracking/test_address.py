"""Addresses of databases, well-formed and hostile: no message may hold a part of a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from carspotter.data.address import hide_secrets, shown
from carspotter.errors import MissingExtra, TrackingError
from carspotter.tracking.address import read_address
from carspotter.tracking.runs import open_store


def refusal(text: str) -> str:
    with pytest.raises(TrackingError) as told:
        open_store(text)
    assert "\n" not in str(told.value)
    return str(told.value)


# ---- what is an address ---------------------------------------------------------------------------------------------


def test_a_file_is_absolute_wherever_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    address = read_address("sqlite:///runs/a@b 100%.db?timeout=3", "run database", "runs.db", "X")
    assert address.file == tmp_path / "runs" / "a@b 100%.db"
    assert str(address) == address.uri == f"sqlite:///{address.file}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sqlite:///some/where/runs.db?timeout=3", "runs.db"),
        ("postgresql://me:s3cret@host:5432/runs?sslmode=require&password=s3cret", "postgresql://host:5432/runs"),
        ("postgresql+psycopg://host/runs", "postgresql://host/runs"),
        ("postgresql://me:s3cret@/runs?user=me&host=/run/pg&port=5433", "postgresql:///runs:/run/pg:5433"),
    ],
)
def test_the_name_of_a_database_holds_no_secret(text: str, name: str) -> None:
    assert read_address(text, "run database", "runs.db", "X").name == name


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@host/runs",
        "postgresql://me:p%40ss%3Fword@host:5432/runs?sslmode=require",
        "postgresql+psycopg://me:pass@[::1]:5432/runs",
        "postgresql://me:pass@/runs?host=/var/run/postgresql",
        "postgresql:///runs",
    ],
)
def test_a_server_is_reached_through_our_driver(text: str) -> None:
    url, asked = make_url(read_address(text, "run database", "runs.db", "X").uri), make_url(text)
    assert url.get_driver_name() == "psycopg"
    assert url.set(drivername=asked.drivername) == asked


@pytest.mark.parametrize(
    "text", ["runs.db", "https://example.org", "file:///tmp/x", "mysql://u:secret@h/d", "sqlite:x"]
)
def test_an_address_of_another_kind(text: str) -> None:
    told = refusal(text)
    assert "is no address of a run database; expected sqlite:///FOLDER/runs.db or postgresql://USER@HOST/NAME" in told
    assert "secret" not in told
    assert text.partition("u:secret")[0] in told


# ---- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("postgresql://me:s3cret@host:5432/runs", "postgresql://me:***@host:5432/runs"),
        ("postgresql://me:s3:cret@host/runs", "postgresql://me:***@host/runs"),
        ("postgresql://me:s3%40cret@host/runs", "postgresql://me:***@host/runs"),
        ("postgresql://:s3cret@host/runs", "postgresql://:***@host/runs"),
        ("postgresql://me@host/runs?password=s3cret", "postgresql://me@host/runs?***"),
        ("postgresql://me@host/runs?sslmode=require&PASSWORD=s3%40cret", "postgresql://me@host/runs?***"),
        ("postgresql://me@host/runs?sslpassword=s3cret", "postgresql://me@host/runs?***"),
        ("postgresql://host/runs", "postgresql://host/runs"),
        ("sqlite:////home/me@work/100%/runs.db", "sqlite:////home/me@work/100%/runs.db"),
    ],
)
def test_what_is_shown_of_an_address(text: str, seen: str) -> None:
    assert shown(text) == seen
    assert shown(seen) == seen
    assert hide_secrets(f"no answer from {text} today") == f"no answer from {seen} today"
    assert str(read_address(text, "run database", "runs.db", "X")) == seen


AMBIGUOUS = (
    "postgresql://me:s3@cret@host/runs",  # SQLAlchemy reads password s3 and host cret@host, and shows the latter
    "postgresql://me:@s3cret@host/runs",
    "postgresql://me:s3/cret@host/runs",
    "postgresql://me:s3?cret@host/runs",
    "postgresql://me:12?s3cret@host/runs",
    "postgresql://me:12#s3cret@host/runs",
    "postgresql://me:s3 cret@host/runs",
    "postgresql://me:s3cret\n@host/runs",
    "postgresql://me:12/x?password=s3cret@host/runs",
    "postgresql://me@host/runs?password=s3@cret",
    "postgresql://host:5432/runs?password=s3@cret",
    "postgresql://me:12@34?s3cret@host/runs",
    "postgresql://[s3cret@host/runs",
    "postgresql://me:12:s3cret/runs",
)


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_an_address_that_can_be_read_in_several_ways_is_refused_and_shows_nothing(text: str) -> None:
    told = refusal(text)
    assert "postgresql://***" in told
    assert "write @ as %40" in told
    assert "s3" not in told
    assert "cret" not in told


def test_sqlalchemy_s_own_hiding_is_not_enough() -> None:
    """Why the address is taken apart here: should this fail one day, theirs may be used."""
    assert "cret" in make_url("postgresql://me:s3@cret@host/runs").render_as_string(hide_password=True)
    assert "s3cret" in make_url("postgresql://me@host/runs?password=s3cret").render_as_string(hide_password=True)


@pytest.mark.parametrize(
    "text",
    ["me:s3cret@host/runs", "password=s3cret host=host dbname=runs", "my secret s3cret://x", "postgresql:s3cret@h"],
)
def test_what_is_no_url_at_all_shows_no_secret_either(text: str) -> None:
    assert "s3cret" not in refusal(text)


# ---- the driver -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_missing_driver_is_one_line_with_the_pip_command(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('no pq wrapper available')")  # what it says without libpq
    script = "import sys; from carspotter.apps.cli import main; sys.exit(main(['runs', 'ls']))"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "CARSPOTTER_RUNS": "postgresql://me:s3cret@127.0.0.1:1/runs",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ('error: a PostgreSQL database needs an optional part: pip install "carspotter[postgres]"\n')


def test_a_file_needs_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    read_address(f"sqlite:///{tmp_path}/runs.db", "run database", "runs.db", "X").need_driver()
    with pytest.raises(MissingExtra, match=r"pip install .carspotter\[postgres\]"):
        read_address("postgresql://host/runs", "run database", "runs.db", "X").need_driver()


def test_a_server_out_of_reach_is_one_line_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(TrackingError) as told:
        open_store("postgresql://me:s3cret@127.0.0.1:1/runs?connect_timeout=1&application_name=s3cret").list()
    text = str(told.value)
    assert text.startswith("run database postgresql://me:***@127.0.0.1:1/runs?*** refused: ")
    assert "s3cret" not in text
    assert "\n" not in text
