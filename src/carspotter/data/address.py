"""Addresses of databases: which kinds there are, and how one is shown without its secrets.

What is shown is put together from the parts that hold none, and only where the address can be read in one way. To star
what looks like a password is not enough: SQLAlchemy's own parser ends it at the first `@`, and shows what follows.
"""

from __future__ import annotations

import re

SQLITE, DUCKDB = "sqlite:///", "duckdb:///"
"""What stands before the path of a database that is a file."""
POSTGRES, DRIVER = "postgresql://", "postgresql+psycopg://"
"""What users write, and what SQLAlchemy takes: before 2.1 it would choose psycopg2 for the first."""
HIDDEN = "***"
PARTS = re.compile(
    r"(?P<scheme>[a-z][\w+.-]*://)"
    r"((?P<user>[^:/?#\[\]@\s]*)(?P<password>:[^/?#\[\]@\s]*)?@)?"
    r"(?P<place>([^:/?#\[\]@\s]*|\[[0-9a-f:.]+\])(:\d+)?(/[^?#@\s]*)?)"
    r"(?P<query>\?[^#@\s]*)?",
    re.IGNORECASE,
)
"""RFC 3986, 3.2: the separators inside a name or a password are written as %40 and the like. No second `@` anywhere."""
PASSWORDS = {
    "no password supplied": "asks for a password; give it in ~/.pgpass or PGPASSWORD (docs/databases.md)",
    "password authentication failed": "refuses the user or the password; check the user, ~/.pgpass and PGPASSWORD",
}
"""What libpq, or a PostgreSQL server in English, says at the door, and what we say instead."""
_ANY = re.compile(r"[a-z][\w+.-]*://\S*", re.IGNORECASE)


def is_plain(address: str) -> bool:
    """Whether the address of a server can be read in one way only."""
    return PARTS.fullmatch(address) is not None


def write_plainly(address: str) -> str:
    """What to say of an address that is not plain."""
    return (
        f"{shown(address)!r} can be read in several ways; in its user, password and settings write "
        "@ as %40, : as %3A, / as %2F, ? as %3F, # as %23"
    )


def shown(address: str) -> str:
    """An address without its secrets; nothing but its kind where it cannot be taken apart with certainty."""
    if address.startswith((SQLITE, DUCKDB)):
        return address  # a path, which may hold any character
    found = PARTS.fullmatch(address)
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


def about_password(told: str) -> str:
    """What to say of a server that refused for want of a password; empty where its words are about something else."""
    return next((instead for sign, instead in PASSWORDS.items() if sign in told), "")
