"""Decisions are a table; applied they make a new set, and a removed line is undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carspotter.data.table import write_table
from carspotter.errors import SourceError
from carspotter.records import Dataset, Decision, Finding, Kind, Photo, Verb
from carspotter.tracking.decisions import (
    COLUMNS,
    apply_decisions,
    decide,
    decided_so_far,
    finding_of,
    read_decisions,
    undecided,
    undo,
)

HEAD = ",".join(COLUMNS[:-1])


def dataset() -> Dataset:
    rows = (("a", "golf"), ("b", "golf"), ("c", "polo"), ("d", "polo"), ("=e", "polo"))
    photos = tuple(Photo(i, i.encode(), label, digest=f"{at:064}") for at, (i, label) in enumerate(rows))
    return Dataset(photos, ("golf", "polo"), ("0", "1"), origin="cars")


def table(folder: Path, *lines: str, head: str = HEAD) -> Path:
    path = folder / "decisions.csv"
    path.write_text("\n".join((head, *lines)) + "\n", encoding="utf-8")
    return path


def test_each_verb_is_carried_out_on_a_new_set(tmp_path: Path) -> None:
    before = dataset()
    lines = (
        "a,label_error,relabel,polo,ann,2026-11-22,it says Polo on the boot",
        "c,outlier,drop,,bob,2026-11-22T10:00:00,a lorry",
        "d,dark,keep,,bob,2026-11-22,",
    )
    after = apply_decisions(before, read_decisions(table(tmp_path, *lines)))
    assert [(p.id, p.label) for p in after.photos] == [("a", "polo"), ("b", "golf"), ("d", "polo"), ("=e", "polo")]
    assert before == dataset()
    assert after.fingerprint != before.fingerprint
    assert after.notes == ("1 photo relabelled by decisions: a", "1 photo dropped by decisions: c")


def test_a_removed_line_is_undone(tmp_path: Path) -> None:
    drop, relabel = "a,outlier,drop,,ann,2026-11-22,", "c,label_error,relabel,golf,ann,2026-11-22,"
    both = apply_decisions(dataset(), read_decisions(table(tmp_path, drop, relabel)))
    one = apply_decisions(dataset(), read_decisions(table(tmp_path, drop)))
    kept = apply_decisions(dataset(), read_decisions(table(tmp_path, "a,outlier,keep,,ann,2026-11-22,")))
    assert len({both.fingerprint, one.fingerprint, dataset().fingerprint}) == 3
    assert kept == dataset()


def test_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    lines = ("a,outlier,drop,,ann,2026-11-22,", "c,label_error,relabel,golf,ann,2026-11-22,")
    one, other = (apply_decisions(dataset(), read_decisions(table(tmp_path, *some))) for some in (lines, lines[::-1]))
    assert one.fingerprint == other.fingerprint


FAULTS = {
    "unknown decision": ("a,dark,burn,,ann,2026-11-22,", "decision 'burn'"),
    "unknown kind": ("a,ugly,drop,,ann,2026-11-22,", "kind 'ugly'"),
    "a class pair": ("golf,class_overlap,drop,,ann,2026-11-22,", "class_overlap"),
    "relabel to nothing": ("a,label_error,relabel,,ann,2026-11-22,", "without a label"),
    "drop with a label": ("a,label_error,drop,polo,ann,2026-11-22,", "with the label 'polo'"),
    "nobody": ("a,dark,drop,,,2026-11-22,", "no who"),
    "no moment": ("a,dark,drop,,ann,yesterday,", "'yesterday'"),
    "no id": (",dark,drop,,ann,2026-11-22,", "no id"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_has_its_line(kind: str, tmp_path: Path) -> None:
    line, said = FAULTS[kind]
    with pytest.raises(SourceError) as fault:
        read_decisions(table(tmp_path, "b,dark,keep,,ann,2026-11-22,", line))
    assert len(fault.value.problems) == 1
    assert "line 3" in fault.value.problems[0]
    assert said in fault.value.problems[0]


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as fault:
        read_decisions(table(tmp_path, *(line for line, _ in FAULTS.values())))
    assert len(fault.value.problems) == len(FAULTS)


def test_contradictions_name_both_lines(tmp_path: Path) -> None:
    lines = ("a,dark,drop,,ann,2026-11-22,", "a,label_error,relabel,polo,bob,2026-11-22,")
    with pytest.raises(SourceError, match="lines 2, 3 decide differently about 'a'"):
        read_decisions(table(tmp_path, *lines))
    with pytest.raises(SourceError, match="lines 2, 3 decide about one finding of 'a' twice"):
        read_decisions(table(tmp_path, lines[0], lines[0]))


def test_photos_and_classes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    lines = ("x,dark,drop,,ann,2026-11-22,", "a,label_error,relabel,tiguan,ann,2026-11-22,")
    with pytest.raises(SourceError) as fault:
        apply_decisions(dataset(), read_decisions(table(tmp_path, *lines)))
    assert [problem[:6] for problem in fault.value.problems] == ["line 2", "line 3"]


def test_dropping_everything_is_refused(tmp_path: Path) -> None:
    lines = [f"{photo.id},outlier,drop,,ann,2026-11-22," for photo in dataset().photos]
    with pytest.raises(SourceError, match="drop all 5 photos"):
        apply_decisions(dataset(), read_decisions(table(tmp_path, *lines)))


def test_a_class_without_a_photo_left_goes_with_its_code(tmp_path: Path) -> None:
    lines = ("a,outlier,drop,,ann,2026-11-22,", "b,label_error,relabel,polo,ann,2026-11-22,")
    after = apply_decisions(dataset(), read_decisions(table(tmp_path, *lines)))
    assert (after.classes, after.codes) == (("polo",), ("1",))
    assert "golf" in after.notes[-1]


def test_an_id_as_our_own_table_writes_it_is_known(tmp_path: Path) -> None:
    write_table(tmp_path / "d.csv", COLUMNS, [("=e", "dark", "drop", "", "ann", "2026-11-22", "", "")])
    assert "'=e" in (tmp_path / "d.csv").read_text(encoding="utf-8")
    after = apply_decisions(dataset(), read_decisions(tmp_path / "d.csv"))
    assert "=e" not in {photo.id for photo in after.photos}


def test_a_photo_that_was_left_out_may_be_named(tmp_path: Path) -> None:
    from carspotter.errors import Reason
    from carspotter.records import Rejected

    partly = replace(dataset(), rejected=(Rejected("gone", Reason.MISSING, "is not there"),))
    assert apply_decisions(partly, read_decisions(table(tmp_path, "gone,dark,drop,,ann,2026-11-22,"))) == partly


@given(data=st.binary(max_size=400))
def test_hostile_tables_end_in_one_kind_of_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    path.write_bytes(HEAD.encode() + b"\n" + data)
    try:
        read_decisions(path)
    except SourceError as fault:
        assert all("\n" not in problem for problem in fault.problems)  # noqa: PT017


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column kind, who"):
        read_decisions(table(tmp_path, "a,drop,2026-11-22", head="id,decision,when"))


def test_decisions_are_added_replaced_and_taken_back_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"

    def made(photo: str, verb: Verb, label: str = "", kind: Kind = Kind.LABEL_ERROR) -> Decision:
        return Decision(photo, kind, verb, label, "me", "2026-11-26", "=why", line=0)

    decide(path, made("a.jpg", Verb.DROP))
    decide(path, made("b.jpg", Verb.RELABEL, "Audi"))
    decide(path, made("a.jpg", Verb.KEEP))  # in place of the first
    assert [(one.id, one.decision, one.label) for one in read_decisions(path)] == [
        ("b.jpg", Verb.RELABEL, "Audi"),
        ("a.jpg", Verb.KEEP, ""),
    ]
    with pytest.raises(SourceError, match="decide differently about"):
        decide(path, made("b.jpg", Verb.DROP, kind=Kind.DARK))
    assert len(read_decisions(path)) == 2  # the table is as it was
    undo(path, "b.jpg", Kind.LABEL_ERROR)
    assert undo(path, "a.jpg", Kind.LABEL_ERROR) == ()
    assert undo(path, "a.jpg", Kind.LABEL_ERROR) == ()
    assert [one.line for one in decide(path, made("c.jpg", Verb.DROP))] == [2]
    path.write_text("id,kind\n", encoding="utf-8")
    with pytest.raises(SourceError):
        decide(path, made("d.jpg", Verb.DROP))


def test_only_the_finding_that_was_decided_is_left_out() -> None:
    kept = Decision("'=e", Kind.DARK, Verb.KEEP, "", "ann", "2026-11-26", "", line=2)
    found = [Finding(i, kind, 0.1, True, "") for i in ("=e", "a") for kind in (Kind.DARK, Kind.BLURRY)]
    assert undecided(found, [kept]) == tuple(found[1:])
    assert undecided(found, [replace(kept, id="=e")]) == tuple(found[1:])
    assert undecided(found, []) == tuple(found)


def test_a_copy_that_was_decided_silences_no_other(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    old, new = (Finding("a", Kind.LEAK, 0.1, True, "", suggestion=other) for other in ("-val.jpg", "test.jpg"))
    kept = Decision("a", Kind.LEAK, Verb.KEEP, "", "ann", "2026-11-26", "", 0, "-val.jpg")
    assert undecided([old, new], decide(path, kept)) == (new,)
    made = decide(path, replace(kept, suggestion="test.jpg"))
    assert undecided([old, new], read_decisions(path)) == ()
    assert [finding_of(one) for one in made] == [finding_of(one) for one in read_decisions(path)]
    assert undecided([old, new], undo(path, "a", Kind.LEAK, "-val.jpg")) == (old,)
    assert undecided([old, new], [replace(kept, suggestion="")]) == ()
    relabel = replace(kept, kind=Kind.LABEL_ERROR, decision=Verb.RELABEL, label="polo", suggestion="polo")
    again = Finding("a", Kind.LABEL_ERROR, 0.1, True, "", suggestion="golf")
    assert undecided([again], [relabel]) == ()  # the person has looked, whatever is suggested now


def test_a_table_of_which_everything_was_undone_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    decide(path, Decision("a", Kind.DARK, Verb.DROP, "", "me", "2026-11-26", "", line=0))
    undo(path, "a", Kind.DARK)
    assert read_decisions(path) == ()
    assert apply_decisions(dataset(), read_decisions(path)) == dataset()


@pytest.mark.parametrize("text", ["", "\n", "id,kind,decision,who,when\n", HEAD + ",mine\n"])
def test_other_empty_tables_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"is empty|a header and no rows"):
        read_decisions(path)


@pytest.mark.parametrize(("name", "why"), [("nowhere.csv", "nowhere"), (".", "folder")])
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        read_decisions(tmp_path / name)


def test_ids_that_a_spreadsheet_would_run_are_one_photo(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    drop = Decision("-1.jpg", Kind.DARK, Verb.DROP, "", "me", "2026-11-26", "", line=0)
    decide(path, drop)
    assert len(decide(path, replace(drop, decision=Verb.KEEP))) == 1
    assert undo(path, "-1.jpg", Kind.DARK) == ()
    assert decided_so_far(path) == ()
