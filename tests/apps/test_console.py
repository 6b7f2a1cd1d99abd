"""Strangers' text cannot steer the terminal."""

from __future__ import annotations

import io
import sys
import time

import pytest

from carspotter.apps.console import note, notes, progress, say, table
from carspotter.data.wording import visible


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("два слова.jpg", "два слова.jpg"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("bad\udcff.jpg", "bad\\udcff.jpg"),
        ("[red]x", "[red]x"),
        ("\x00\x9b", "\\x00\\x9b"),
    ],
)
def test_visible_shows_what_steers_and_leaves_the_rest(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_say_and_note_write_one_line_each_to_their_stream(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb")
    note("c\x1b")
    assert capsys.readouterr() == ("a\\nb\n", "c\\x1b\n")


def test_notes_are_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    notes([f"n{i}" for i in range(5)], limit=3)
    assert capsys.readouterr().err.splitlines() == ["n0", "n1", "n2", "… and 2 more"]


def test_a_table_for_a_program_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    table(("id", "p", "n"), [("a\tb\nc", 0.5, 3), ("[red]x", None, 4)])
    assert capsys.readouterr().out == "id\tp\tn\na\\tb\\nc\t0.500\t3\n[red]x\t\t4\n"


def test_a_table_on_a_terminal_is_aligned_and_steers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    table(("id", "share"), [("[red]x[/red]", 0.25), ("y\x1b[31m\u202e", None)])
    assert sys.stdout.getvalue().splitlines() == [
        "id               share",
        "[red]x[/red]     0.250",
        "y\\x1b[31m\\u202e      –",
    ]


def test_progress_in_a_log_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: seconds)
    with progress() as show:
        for done in range(1, 101):
            seconds += 1.0
            show("epo\x1bchs", done, 100)
    assert capsys.readouterr() == (
        "",
        "epo\\x1bchs: 30 of 100\nepo\\x1bchs: 60 of 100\nepo\\x1bchs: 90 of 100\n",
    )


def test_a_remark_of_no_length_is_not_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def remark() -> None:
        with progress() as show:
            show("checkpoint", 0, 0, "go on with: this")
            show("photos", 1, 2, "left out")

    remark()
    assert capsys.readouterr().err == "checkpoint: go on with: this\nphotos: 1 of 2: left out\n"
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    remark()
    assert "checkpoint: go on with: this" in sys.stderr.getvalue()
    assert "photos 1/2: left out" in sys.stderr.getvalue()


def test_progress_draws_a_bar_per_phase_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    with progress() as show:
        show("photos [x]", 1, 2)
        show("photos [x]", 2, 2)
        show("epochs", 1, 1)
    drawn = sys.stderr.getvalue()
    assert "photos [x]" in drawn
    assert "2/2" in drawn
    assert "epochs" in drawn
