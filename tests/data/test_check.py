from __future__ import annotations

from dataclasses import replace

import pytest

from carspotter.data.check import ClassCount, check, group_rejected, render
from carspotter.data.scan import PhotoFacts, Scan
from carspotter.errors import Reason
from carspotter.records import Dataset, Photo, Rejected


def fact(number: int, size: tuple[int, int] = (640, 480), digest: str | None = None, note: str = "") -> PhotoFacts:
    """A photo without detail, so that only equal digests make copies."""
    flat = bytes(48 * 48)
    hash_ = number * 0x9E3779B97F4A7C15 % 2**64
    digest = digest or f"{number:064}"
    return PhotoFacts(
        f"{number}.jpg", digest, size[1], size[0], "JPEG", hash_, ~hash_ % 2**64, flat, (note,) if note else ()
    )


def made(labels: str, facts: list[PhotoFacts]) -> Scan:
    photos = tuple(
        Photo(f.id, b"", None if label == "-" else label, digest=f.digest)
        for label, f in zip(labels, facts, strict=True)
    )
    classes = tuple(sorted(set(labels) - {"-"}))
    return Scan(Dataset(photos, classes, tuple(str(i) for i, _ in enumerate(classes)), "cars"), tuple(facts))


def test_counts_and_deviation_from_the_mean() -> None:
    found = check(made("AAAAABBBC-", [fact(i) for i in range(10)]))
    assert found.classes == (
        ClassCount("A", "0", 5, pytest.approx(66.667, abs=0.001)),
        ClassCount("B", "1", 3, pytest.approx(0)),
        ClassCount("C", "2", 1, pytest.approx(-66.667, abs=0.001)),
    )
    assert (found.photos, found.unlabelled, found.rejected) == (10, 1, 0)
    assert found.problems == ("1 class with one photo, never validated: C; add more",)


def test_a_class_without_a_usable_photo_is_a_problem() -> None:
    scanned = made("AAB", [fact(i) for i in range(3)])
    emptied = Scan(scanned.dataset.subset([0, 1]), scanned.facts[:2])
    assert check(emptied).problems == ("1 class without a usable photo: B; add some",)


def test_sizes() -> None:
    facts = [fact(i, size) for i, size in enumerate([(640, 480)] * 3 + [(480, 640)] * 2 + [(100, 100), (800, 600)])]
    sizes = check(made("AAAABBB", facts)).sizes
    assert sizes is not None
    assert sizes.common[:2] == (((640, 480), 3), ((480, 640), 2))
    assert (sizes.different, sizes.smallest, sizes.largest) == (4, (100, 100), (800, 600))
    assert sizes.portrait == pytest.approx(2 / 7)


def test_copies_and_contradicting_labels() -> None:
    facts = [fact(i, digest=digest * 64) for i, digest in enumerate("aabbbcd")]
    found = check(made("AAABBBA", facts))
    assert (found.copies.groups, found.copies.photos, found.copies.across) == (2, 5, 1)
    assert found.problems == ("1 picture under different labels: 2.jpg = 3.jpg = 4.jpg; correct or remove one",)


def test_rejected_photos_are_grouped() -> None:
    refused = [Rejected(f"{i}.jpg", Reason.TOO_SMALL, f"it has {i} x 8 pixels") for i in range(5)]
    refused += [Rejected("x.jpg", Reason.MISSING, "is not there")]
    assert group_rejected(refused) == (
        "5 photos too_small: it has 0 x 8 pixels: 0.jpg, 1.jpg, 2.jpg and 2 more",
        "1 photo missing: is not there: x.jpg",
    )


def test_fifteen_thousand_missing_photos_are_one_line() -> None:
    refused = tuple(Rejected(f"{i}.jpg", Reason.MISSING, "is not there") for i in range(15_561))
    scanned = made("AABB", [fact(i) for i in range(4)])
    found = check(replace(scanned, dataset=replace(scanned.dataset, rejected=refused)))
    (problem,) = found.problems
    assert problem == "15,561 photos missing: is not there: 0.jpg, 1.jpg, 2.jpg and 15,558 more"


def test_text_has_everything() -> None:
    scanned = made(
        "AAAB", [fact(0, digest="a" * 64), fact(1, digest="a" * 64, note="it has several"), fact(2), fact(3)]
    )
    dataset = replace(scanned.dataset, rejected=(Rejected("x", Reason.EMPTY, "no bytes"),), notes=("a table skipped",))
    assert render(check(replace(scanned, dataset=dataset))).splitlines() == [
        "cars: 4 photos, 2 classes, 1 refused",
        "  A       3   +50 % (0)",
        "  B       1   -50 % (1)",
        "sizes: 640×480 (4); 1 in all, 640×480 to 640×480, 0% portrait",
        "near copies: 2 photos show 1 picture",
        "note: a table skipped",
        "note: 1 photo: it has several: 1.jpg",
        "problem: 1 photo empty: no bytes: x",
        "problem: 1 class with one photo, never validated: B; add more",
    ]


def test_an_empty_set_has_no_sizes() -> None:
    found = check(Scan(Dataset(()), ()))
    assert found.sizes is None
    assert render(found).endswith("no problems")
