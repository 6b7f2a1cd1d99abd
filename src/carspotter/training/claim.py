"""Who works on a study: in a file one process at a time; on a server as many as like, each with trials of its own.

The claim of a worker ends with its process, however that ends: a file's lock is the kernel's, a server's lock belongs
to a connection. So there is no heartbeat to keep up, and none that a busy worker could miss.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol

from carspotter.errors import TrackingError
from carspotter.tracking.address import Address
from carspotter.tracking.first_use import connect, take_lock
from carspotter.tracking.lock import Lock, is_held

if TYPE_CHECKING:
    import sqlalchemy

PATIENCE = 60
"""Seconds to wait for a turn. One takes a second or less; many workers take theirs one after the other (assumption)."""
SETTINGS = {
    # A worker whose machine is gone without a word is given up after a minute. By itself the server would wait for two
    # hours (Linux, tcp_keepalive_time).
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # A connection that only holds a lock is idle; it must not be ended for that.
    "idle_session_timeout": "0",
    "lock_timeout": f"{PATIENCE}s",
}
"""Of the connection that holds a claim; those that the server's version knows."""
ALIVE = """
    SELECT objid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = :study
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""Workers of a study: the second halves of the pairs of which its number is the first."""


class Claim(Protocol):
    """What a worker holds while it works on a study.

    Attributes:
        worker: its number; no other living worker of the study has it.
        shared: others may work on the study too.
    """

    worker: int
    shared: bool

    def turn(self) -> AbstractContextManager[None]:
        """Nobody else begins or gives up trials meanwhile; a turn may lie inside another."""

    def others(self) -> frozenset[int]:
        """Numbers of the other workers that are alive."""


@contextmanager
def claimed(address: Address, name: str) -> Iterator[Claim]:
    """A place among those who work on a study, until it is left or the process ends.

    Args:
        address: of its database; a file beside an SQLite one bears the claim, else the server does.
        name: of the study.

    Raises:
        TrackingError: the study lies in a file, and another process works on it.
    """
    key = hashlib.sha256(name.encode()).digest()
    if address.file:
        path = address.file.with_name(f"{address.file.name}.{key.hex()[:12]}.lock")
        if is_held(path):
            raise TrackingError(
                f"study {name} is being run by another process; wait for it, name another with --study, or keep it in "
                "PostgreSQL (--storage), where several may work on one"
            )
        with Lock(path):
            yield Alone()
        return
    with closing(connect(address.uri, PATIENCE)) as connection:
        yield Member(connection, name, key)


class Alone:
    """The only worker of a study in a file."""

    shared = False

    def __init__(self) -> None:
        self.worker = _draw()

    def turn(self) -> AbstractContextManager[None]:
        """Nobody else is there."""
        return nullcontext()

    def others(self) -> frozenset[int]:
        """Nobody."""
        return frozenset()


class Member:
    """One of the workers of a study on a server. Two advisory locks of its connection say so.

    Args:
        connection: kept open as long as the claim shall last.
        name: of the study.
        key: at least 8 bytes that stand for the study.
    """

    shared = True

    def __init__(self, connection: sqlalchemy.Connection, name: str, key: bytes) -> None:
        self._connection = connection
        self._name = name
        self._whole = int.from_bytes(key[:8], "big", signed=True)
        self._study = int.from_bytes(key[:4], "big", signed=True)
        self._settle()
        self.worker = self._enter()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """See `Claim`.

        Raises:
            TrackingError: another worker kept its turn.
        """
        from sqlalchemy import func, select
        from sqlalchemy.exc import SQLAlchemyError

        late = f"another worker of study {self._name} has not let go of it for {PATIENCE} s; end it and begin again"
        take_lock(self._connection, self._whole, late=late)
        unlock = select(func.pg_advisory_unlock(self._whole))
        try:
            yield
        except BaseException:
            with suppress(SQLAlchemyError):  # the connection may be what failed, and with it the lock is gone
                self._connection.execute(unlock)
            raise
        self._connection.execute(unlock)

    def others(self) -> frozenset[int]:
        """See `Claim`."""
        from sqlalchemy import text

        found = self._connection.scalars(text(ALIVE).bindparams(study=self._study % 2**32))
        return frozenset(int(number) for number in found) - {self.worker}

    def _settle(self) -> None:
        from sqlalchemy import text

        setting = text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name")
        for name, value in SETTINGS.items():
            self._connection.execute(setting.bindparams(name=name, value=value))

    def _enter(self) -> int:
        from sqlalchemy import func, select

        while True:
            number = _draw()
            if self._connection.scalar(select(func.pg_try_advisory_lock(self._study, number))):
                return number


def _draw() -> int:
    """A number that no other worker had: PostgreSQL's locks have 31 bits to name one."""
    return secrets.randbelow(2**31)
