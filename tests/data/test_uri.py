"""Where the text of a manifest points."""

from __future__ import annotations

import pytest

from carspotter.data.uri import parse_uri, scheme_of
from carspotter.records import Location, Remote


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a/b.jpg", Location("/lot/a/b.jpg")),
        ("/else/b.jpg", Location("/else/b.jpg")),
        ("wow!.jpg", Location("/lot/wow!.jpg")),
        ("a b%20c.jpg", Location("/lot/a b%20c.jpg")),
        ("photos.zip!a/b.jpg", Location("/lot/photos.zip", "a/b.jpg")),
        ("photos.ZIP!/a/b.jpg", Location("/lot/photos.ZIP", "a/b.jpg")),
        ("/x.zip!a!b.jpg", Location("/x.zip", "a!b.jpg")),
        ("file:///a%20b/c?d#e.jpg", Location("/a b/c?d#e.jpg")),
        ("file://localhost/p.zip!m.jpg", Location("/p.zip", "m.jpg")),
        ("s3://bucket/key with space.jpg", Remote("s3://bucket/key with space.jpg")),
        ("https://host/a.jpg?sig=1", Remote("https://host/a.jpg?sig=1")),
    ],
)
def test_places(text: str, place: Location | Remote) -> None:
    assert parse_uri(text, "/lot") == place


@pytest.mark.parametrize(
    "text", ["file://other/a.jpg", "s3:///key", "zip://a.jpg::s3://b/c.zip", "a\0b", "file:///a%00"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"another machine|no store|chains|NUL"):
        parse_uri(text, "/lot")


def test_schemes() -> None:
    assert [scheme_of(text) for text in ("S3://a/b", "a/b://c", "abc", "file:///x", "c:\\x")] == [
        "s3",
        "",
        "",
        "file",
        "",
    ]


def test_a_store_is_shown_without_what_may_be_secret() -> None:
    assert str(Remote("https://me:pass@host/a.jpg?signature=1")) == "https://host/a.jpg"
