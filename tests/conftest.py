"""What every test shares: the real photos when they are there, and no network."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# As `carspotter.training` does it, but before any test module imports torch: threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos beside the project; the test skips, with the reason, where it is absent.

    With CARSPOTTER_REQUIRE_REAL set (CI) it fails instead: a green run then means that real photos were seen.
    """
    folder = Path(os.environ.get("CARSPOTTER_SHARED", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        absent = f"no real photos at {folder}; set CARSPOTTER_SHARED to their folder"
        if os.environ.get("CARSPOTTER_REQUIRE_REAL"):
            pytest.fail(f"{absent} (CARSPOTTER_REQUIRE_REAL forbids the skip)")
        pytest.skip(absent)
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine may be reached."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests may not reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and run stores of a test stay in its own folder."""
    monkeypatch.setenv("CARSPOTTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CARSPOTTER_RUNS", f"sqlite:///{tmp_path / 'runs' / 'runs.db'}")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty run database, made by the code under test; making its tables costs seconds."""
    from carspotter.tracking.index import Index

    file = tmp_path_factory.mktemp("template") / "runs.db"
    assert Index(f"sqlite:///{file}").known() == {}
    return file


@pytest.fixture
def runs_db(template: Path, _own_folders: None) -> Path:
    """Where this test's store has its database, already made."""
    file = Path(os.environ["CARSPOTTER_RUNS"].removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    shutil.copy(template, file)
    return file


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server of this test's own, on a socket in a temporary folder."""
    pytest.importorskip("psycopg", reason="the driver is missing: pip install 'carspotter[postgres]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")
    user = None
    if os.geteuid() == 0:  # the server refuses to be root
        if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
            pytest.skip("the tests run as root, and there is no user postgres to run a server")
        user = "postgres"
    folder = Path(tempfile.mkdtemp(prefix="carspotter-pg-", dir="/tmp"))  # sockets need a short path
    if user:
        shutil.chown(folder, user)

    def run(program: str, *words: str) -> None:
        subprocess.run(
            [f"{found[-1]}/{program}", "-D", str(folder / "data"), *words],
            check=True,
            user=user,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )

    try:
        run("initdb", "--auth=trust", "--username=me", "--no-sync")
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-c listen_addresses= -k {folder}", "start")
        try:
            yield f"postgresql://me:s3cret@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
