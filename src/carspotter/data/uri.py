"""Where the text of a manifest points: a file, an entry of a zip, a store."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from carspotter.records import Location, Remote

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_MEMBER = re.compile(r"(?P<zip>.*?\.zip)!/?(?P<member>.+)", re.IGNORECASE | re.DOTALL)


def parse_uri(text: str, folder: str) -> Location | Remote:
    """The place that a text names.

    Args:
        text: `a/b.jpg` or `/a/b.jpg`; `photos.zip!a/b.jpg` (or `photos.zip!/a/b.jpg`); `file:///a/b.jpg`, whose `%20`
            are spaces; anything else with `://` is for fsspec.
        folder: what a relative path starts from.

    Raises:
        ValueError: it names no such place; the text says why.
    """
    scheme = scheme_of(text)
    if scheme not in {"", "file"}:
        if "::" in text:  # fsspec would chain stores, and may write to this disk
            raise ValueError("chains stores by '::'")
        if not urlsplit(text).netloc:
            raise ValueError("names no store behind '://'")
        return Remote(text)
    path = _local(text) if scheme == "file" else text
    if "\0" in path:
        raise ValueError("holds a NUL")
    inside = _MEMBER.fullmatch(path)
    file, member = (path, None) if inside is None else (inside["zip"], inside["member"])
    return Location(os.path.join(folder, file), member)  # noqa: PTH118 - a Path for each of millions of rows is slow


def scheme_of(text: str) -> str:
    """What stands before `://`, in small letters; nothing for a path."""
    found = _SCHEME.match(text)
    return found[0].lower() if found else ""


def _local(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise ValueError(f"is a file of another machine, {parts.netloc}")
    # What stands behind '?' or '#' belongs to the name: the query of a file means nothing.
    return unquote(url.split("://", 1)[1].removeprefix(parts.netloc))
