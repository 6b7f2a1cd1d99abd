"""Photos in stores beyond this machine's disks: the only way to a network, and the only module that knows fsspec.

Only a manifest makes a `Remote` (`data/manifest.py`), so nothing that a client of the server says is ever fetched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import IO, Any

from carspotter.data.archive import MAX_PHOTO_BYTES, check_length
from carspotter.data.wording import brief
from carspotter.errors import MissingExtra, PhotoRefused, Reason, SourceError
from carspotter.records import Remote
from carspotter.workers import within

READ_SECONDS = 30.0
"""For one photo, in one attempt. Assumption: the largest that is read, 64 MB, at 2 MB a second."""
PAUSES = (0.5, 2.0)
"""Seconds before the second and the third attempt. Assumption: an overloaded store says so for a second or two."""
PASSING = frozenset({Reason.TIMEOUT, Reason.UNREACHABLE})
"""Reasons that another attempt may find gone at once."""


def read_remote(where: Remote, *, seconds: float = READ_SECONDS, pauses: Sequence[float] | None = None) -> bytes:
    """The bytes of a photo in a store, at most `MAX_PHOTO_BYTES`.

    Args:
        where: named by a manifest.
        seconds: an attempt may take; one that hangs is left to its driver's own timeout.
        pauses: before each further attempt after a fault that may pass; None: `PAUSES`.

    Raises:
        PhotoRefused: missing, empty, too_large, not_allowed, missing_extra; after the last attempt timeout or
            unreachable.
    """
    for pause in PAUSES if pauses is None else pauses:
        try:
            return _attempt(where.url, seconds)
        except PhotoRefused as refused:
            if refused.reason not in PASSING:
                raise
        time.sleep(pause)
    return _attempt(where.url, seconds)


def check_driver(scheme: str) -> None:
    """Pass when stores of a scheme can be read; ask before the work.

    Raises:
        MissingExtra: S3, and its driver is not installed.
        SourceError: a scheme that fsspec does not know, or another driver that is not installed.
    """
    try:
        _driver(scheme)
    except ImportError as fault:
        if scheme in {"s3", "s3a"}:
            raise MissingExtra("reading photos from S3", "s3") from None
        raise SourceError(
            f"{scheme}:// needs a driver of fsspec that is not installed ({fault}); install it with pip"
        ) from None
    except ValueError:
        raise SourceError(
            f"{scheme}:// is no kind of store that fsspec knows; expected s3://, https:// or such"
        ) from None


# ---- one attempt ----------------------------------------------------------------------------------------------------


def _attempt(url: str, seconds: float) -> bytes:
    try:
        data = within(seconds, partial(_read, url))  # few drivers can be told a deadline
    except PhotoRefused:
        raise
    except Exception as fault:  # noqa: BLE001 - the drivers' exceptions have no base of their own
        raise _refusal(fault, seconds) from None
    check_length(len(data))
    return data


def _read(url: str) -> bytes:
    scheme = url.partition("://")[0]
    driver = _driver(scheme)
    options = driver._get_kwargs_from_urls(url)
    # Drivers that are not asynchronous hold one connection and are not safe from several threads.
    store = _shared(scheme, tuple(sorted(options.items()))) if driver.async_impl else _open(driver, options)
    with store.open(driver._strip_protocol(url), "rb", cache_type="none") as file:
        if size := getattr(file, "size", None):
            check_length(size)
        return _capped(file)


def _capped(file: IO[bytes]) -> bytes:
    """At most one byte more than a photo may have; a stream without a known length gives its bytes in pieces."""
    data = bytearray()
    while len(data) <= MAX_PHOTO_BYTES and (piece := file.read(MAX_PHOTO_BYTES + 1 - len(data))):
        data += piece
    return bytes(data)


def _driver(scheme: str) -> Any:
    import fsspec

    return fsspec.get_filesystem_class(scheme)


def _open(driver: Any, options: dict[str, Any]) -> Any:
    # fsspec would keep one for each thread that ever asked.
    return driver(**options, skip_instance_cache=True, use_listings_cache=False)


@lru_cache(maxsize=16)
def _shared(scheme: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """An asynchronous store, one for all threads; its work is done on fsspec's own."""
    return _open(_driver(scheme), dict(options))


def _refusal(fault: BaseException, seconds: float) -> PhotoRefused:
    """The reason that fits; a driver's own text may hold an address with a password, and is not passed on."""
    fault = _behind(fault)
    kind, status = type(fault).__name__, getattr(fault, "status", None)
    if isinstance(fault, FileNotFoundError | IsADirectoryError) or status in {404, 410}:
        return PhotoRefused(Reason.MISSING, "the store has no such photo; compare the name")
    if isinstance(fault, PermissionError) or status in {401, 403}:
        return PhotoRefused(Reason.NOT_ALLOWED, "the store does not allow it; check the credentials of this machine")
    if isinstance(fault, TimeoutError):
        return PhotoRefused(Reason.TIMEOUT, f"the store did not give it within {seconds:g} s; ask again later")
    if isinstance(fault, ImportError):
        return PhotoRefused(Reason.MISSING_EXTRA, f"no driver for {brief(fault.name or 'its store')} is installed here")
    return PhotoRefused(Reason.UNREACHABLE, f"the store does not give it ({kind}); check the network and ask again")


def _behind(fault: BaseException) -> BaseException:
    """The fault itself; fsspec's HTTP driver calls everything "not found", a server that does not answer too."""
    while isinstance(fault, FileNotFoundError) and fault.__cause__ is not None:
        if not isinstance(fault.__cause__, FileNotFoundError) and not _is_of_http(fault.__cause__):
            break
        fault = fault.__cause__
    return fault


def _is_of_http(fault: BaseException) -> bool:
    return type(fault).__module__.partition(".")[0] == "aiohttp"
