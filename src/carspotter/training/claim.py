"""Who runs a study: one process at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager

from carspotter.errors import TrackingError
from carspotter.tracking.address import Address
from carspotter.tracking.lock import Lock, is_held


@contextmanager
def claimed(address: Address, name: str) -> Iterator[None]:
    """Nobody else runs the study meanwhile; the claim ends with the process, however that ends.

    Args:
        address: of its database; a file beside an SQLite one bears the claim, else the server does.
        name: of the study.

    Raises:
        TrackingError: another process runs it.
    """
    taken = TrackingError(f"study {name} is being run by another process; wait for it, or name another with --study")
    key = hashlib.sha256(name.encode()).digest()
    if address.file:
        path = address.file.with_name(f"{address.file.name}.{key.hex()[:12]}.lock")
        if is_held(path):
            raise taken
        with Lock(path):
            yield
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(address.uri, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with closing(engine.connect()) as connection:
        number = int.from_bytes(key[:8], "big", signed=True)
        if not connection.scalar(sqlalchemy.select(sqlalchemy.func.pg_try_advisory_lock(number))):
            raise taken
        yield
