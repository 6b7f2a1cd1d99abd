"""What every test shares: the real photos and the servers when they are there, and no network."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from helpers.absent import absent
from helpers.storms import pytest_terminal_summary, storm  # noqa: F401 - a hook and a fixture

# As `carspotter.training` does it, but before any test module imports torch: threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]
SERVERS = "CARSPOTTER_REQUIRE_SERVERS"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos beside the project; the test skips, with the reason, where it is absent.

    With CARSPOTTER_REQUIRE_REAL set (CI) it fails instead: a green run then means that real photos were seen.
    """
    folder = Path(os.environ.get("CARSPOTTER_SHARED", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        absent(f"no real photos at {folder}; set CARSPOTTER_SHARED to their folder", "CARSPOTTER_REQUIRE_REAL")
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


# ---- PostgreSQL -----------------------------------------------------------------------------------------------------


def _postgresql_programs() -> Path:
    """The folder of `initdb` and `pg_ctl`: $CARSPOTTER_POSTGRES, else the newest that Debian's packages brought."""
    debian = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda programs: float(programs.parent.name))
    named = os.environ.get("CARSPOTTER_POSTGRES")
    for programs in [Path(named).absolute()] if named else reversed(debian):
        if (programs / "initdb").exists():  # a client alone has a folder too
            return programs
    return absent(f"no PostgreSQL server at {named or '/usr/lib/postgresql'}; Debian: apt install postgresql", SERVERS)


def _postgresql_user() -> str | None:
    """Whom the server runs as: us, but it refuses to be root."""
    if os.geteuid() != 0:
        return None
    if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        absent("the tests run as root, and there is no user postgres to run a server", SERVERS)
    return "postgres"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of a PostgreSQL server of this test process's own.

    It listens on no port, only on a socket in a folder that none but its user may enter; so it needs no password.
    With CARSPOTTER_REQUIRE_SERVERS set (CI) a server that is absent is a failure, else a skip.
    """
    with _running_postgresql() as folder:
        yield f"postgresql://me:s3cret@/postgres?host={folder}"


@pytest.fixture(scope="session")
def guarded_postgresql() -> Iterator[Callable[[str], str]]:
    """A server that asks `me` for the password `s3cret` (scram-sha-256); gives its address with what is to be given.

    `with_password(":s3cret@")` has the password in the address, `with_password("@")` none.
    """
    with _running_postgresql("s3cret") as folder:
        yield lambda password: f"postgresql://me{password}/postgres?host={folder}"


@contextmanager
def _running_postgresql(password: str = "") -> Iterator[Path]:
    """The folder of its socket, and of everything that is its own; it trusts everyone where there is no password."""
    try:
        import_module("psycopg")
    except ImportError as fault:
        absent(f"no PostgreSQL driver ({fault}); pip install 'carspotter[postgres]'", SERVERS)
    programs, user = _postgresql_programs(), _postgresql_user()
    folder = Path(tempfile.mkdtemp(prefix="carspotter-pg-", dir="/tmp"))  # sockets need a short path
    if user:
        shutil.chown(folder, user)

    def run(program: str, *words: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *words]
        subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL)

    (folder / "password").write_text(password)
    auth = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}"] if password else ["--auth=trust"]
    try:
        # Whatever this machine's language: under LC_ALL=C text would come back as bytes, and a missing locale is fatal.
        run("initdb", *auth, "--username=me", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = f"-c listen_addresses= -c fsync=off -k {folder}"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield folder
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def new_database(postgresql_server: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database and gives its address."""
    import psycopg

    def make() -> str:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return postgresql_server.replace("/postgres?", f"/{name}?")

    return make


@pytest.fixture
def postgresql(new_database: Callable[[], str]) -> str:
    """The address of an empty PostgreSQL database of this test's own."""
    return new_database()
