"""Every own photo that would leak is told, also where another stands for its bytes."""

from __future__ import annotations

from collections.abc import Sequence

from carspotter.data.duplicates import Copy
from carspotter.records import Finding, Kind, Photo
from carspotter.training.copy_findings import copy_findings


def found(copies: Sequence[Copy], names: str, sets: Sequence[str]) -> list[Finding]:
    return list(copy_findings([Photo(name, b"") for name in names], copies, sets))


def leaks(findings: Sequence[Finding]) -> list[tuple[str, str, str, float]]:
    return [(f.id, f.within, f.suggestion, round(1 - f.score, 2)) for f in findings if f.kind is Kind.LEAK]


def test_equal_bytes_leak_together() -> None:
    """Whoever drops A alone would leave B in."""
    exact = found([Copy(0, 1, 1.0, exact=True), Copy(0, 2, 1.0, exact=True)], "ABT", ["", "", "test"])
    assert leaks(exact) == [("A", "test", "T", 1.0), ("B", "test", "T", 1.0)]
    assert [f.id for f in exact if f.kind is Kind.EXACT_DUPLICATE] == ["B"]
    near = found([Copy(0, 1, 1.0, exact=True), Copy(0, 2, 0.93)], "ABT", ["", "", "test"])
    assert leaks(near) == [("A", "test", "T", 0.93), ("B", "test", "T", 0.93)]
    assert all(f.why == "the same picture, alike 0.93 in detail, is also in test" for f in near[-2:])


def test_what_reaches_a_set_by_way_of_others_is_told_with_the_weakest_link() -> None:
    copies = [Copy(0, 1, 0.9), Copy(1, 2, 0.95, mirrored=True)]
    chained = found(copies, "ABTC", ["", "", "test", ""])
    assert leaks(chained) == [("A", "test", "T", 0.9), ("B", "test", "T", 0.95)]
    assert "a copy of a copy" in chained[-2].why
    assert "mirrored" in chained[-1].why


def test_one_finding_a_set_with_its_likest_photo() -> None:
    copies = [Copy(2, 3, 1.0, exact=True), Copy(0, 1, 0.89), Copy(0, 2, 0.97), Copy(0, 4, 0.9)]
    findings = found(copies, "AUTTV", ["", "test", "test", "test", "val"])
    assert leaks(findings) == [("A", "test", "T", 0.97), ("A", "val", "V", 0.9)]
    assert findings[0].why.endswith("is also in test, with 2 more copies")


def test_copies_between_other_sets_are_not_ours_to_judge() -> None:
    assert found([Copy(1, 2, 1.0, exact=True)], "AUV", ["", "test", "val"]) == []
