"""Addresses of databases: which kinds there are, and how one is shown without its secrets.

What is shown is put together from the parts that hold none, and only where the address can be read in one way. To star
what looks like a password is not enough: SQLAlchemy's own parser ends it at the first `@`, and shows what follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qs

from carspotter.errors import MissingExtra, TrackingError

SQLITE = "sqlite:///"
POSTGRES, DRIVER = "postgresql://", "postgresql+psycopg://"
"""What users write, and what SQLAlchemy takes: before 2.1 it would choose psycopg2 for the first."""
HIDDEN = "***"
PLACES = ("host", "hostaddr", "port", "dbname")
"""Settings of libpq that say where a database is."""
_PARTS = re.compile(
    r"(?P<scheme>[a-z][\w+.-]*://)"
    r"((?P<user>[^:/?#\[\]@\s]*)(?P<password>:[^/?#\[\]@\s]*)?@)?"
    r"(?P<place>([^:/?#\[\]@\s]*|\[[0-9a-f:.]+\])(:\d+)?(/[^?#@\s]*)?)"
    r"(?P<query>\?[^#@\s]*)?",
    re.IGNORECASE,
)
"""RFC 3986, 3.2: the separators inside a name or a password are written as %40 and the like. No second `@` anywhere."""
_ANY = re.compile(r"[a-z][\w+.-]*://\S*", re.IGNORECASE)


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
        found = _PARTS.fullmatch(self.uri)
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
        if _PARTS.fullmatch(text):
            return Address(DRIVER + text.partition("://")[2])
        raise TrackingError(
            f"{shown(text)!r} can be read in several ways; in its user, password and settings write "
            f"@ as %40, : as %3A, / as %2F, ? as %3F, # as %23 ({given_by})"
        )
    raise TrackingError(
        f"{shown(text)!r} is no address of a {kind}; expected {SQLITE}FOLDER/{example} "
        f"or {POSTGRES}USER@HOST/NAME ({given_by})"
    )


def shown(address: str) -> str:
    """An address without its secrets; nothing but its kind where it cannot be taken apart with certainty."""
    if address.startswith(SQLITE):
        return address  # a path, which may hold any character
    found = _PARTS.fullmatch(address)
    if found is not None:
        part = found.groupdict(default="")
        password = f":{HIDDEN}" if part["password"] else ""
        user = f"{part['user']}{password}@" if part["user"] or password else ""
        return f"{part['scheme']}{user}{part['place']}{f'?{HIDDEN}' if part['query'] else ''}"
    scheme, separator, _ = address.partition("://")
    if separator:
        return f"{scheme}://{HIDDEN}" if re.fullmatch(r"[a-z][\w+.-]*", scheme, re.IGNORECASE) else HIDDEN
    return HIDDEN if re.search(r"[@=]", address) else address  # `password=secret host=…` is libpq's other way


def hide_secrets(text: str) -> str:
    """A message in which every address is `shown`."""
    return _ANY.sub(lambda found: shown(found[0]), text)
