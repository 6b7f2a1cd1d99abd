"""Addresses of run and study databases: SQLite and PostgreSQL, as users write them and as SQLAlchemy takes them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qs

from carspotter.data.address import DRIVER, PARTS, POSTGRES, SQLITE, is_plain, shown, write_plainly
from carspotter.errors import MissingExtra, TrackingError

PLACES = ("host", "hostaddr", "port", "dbname")
"""Settings of libpq that say where a database is."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is; as text, without its secrets.

    Attributes:
        uri: as SQLAlchemy takes it; it may hold a password.
        file: of an SQLite database, absolute; None for a server.
    """

    uri: str
    file: Path | None = None

    def __str__(self) -> str:
        return shown(self.uri).replace(DRIVER, POSTGRES, 1)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def name(self) -> str:
        """What tells it from other databases that keep their runs in one folder: no user, no password, no settings.

        An SQLite file's folder goes along when it is moved, so its file name is enough.
        """
        if self.file is not None:
            return self.file.name
        found = PARTS.fullmatch(self.uri)
        place, query = (found["place"], parse_qs((found["query"] or "").removeprefix("?"))) if found else ("", {})
        return ":".join([f"{POSTGRES}{place}", *(value for key in PLACES for value in query.get(key, ()))])

    def need_driver(self) -> None:
        """What the database needs beside SQLAlchemy.

        Raises:
            MissingExtra: PostgreSQL's driver is not there, or finds no libpq.
        """
        if self.file is None:
            try:
                import_module("psycopg")
            except ImportError:
                raise MissingExtra("a PostgreSQL database", "postgres") from None


def read_address(text: str, kind: str, example: str, given_by: str) -> Address:
    """An address as users write it.

    Args:
        text: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`.
        kind: of database, for the refusal.
        example: its file name, for the refusal.
        given_by: the settings that hold it, for the refusal.

    Raises:
        TrackingError: it is of another kind, or it can be read in several ways.
    """
    if text.startswith(SQLITE):
        file = Path(text.partition("?")[0].removeprefix(SQLITE)).absolute()
        return Address(f"{SQLITE}{file}", file)
    if text.startswith((POSTGRES, DRIVER)):
        if is_plain(text):
            return Address(DRIVER + text.partition("://")[2])
        raise TrackingError(f"{write_plainly(text)} ({given_by})")
    raise TrackingError(
        f"{shown(text)!r} is no address of a {kind}; expected {SQLITE}FOLDER/{example} "
        f"or {POSTGRES}USER@HOST/NAME ({given_by})"
    )
