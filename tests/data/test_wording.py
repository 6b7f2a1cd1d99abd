from __future__ import annotations

import pytest

from carspotter.data.wording import SHOWN_OF_FAULT, brief, cause, count, one_line, place_of, some, visible


def test_a_few_of_many() -> None:
    assert some([]) == ""
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(range(15_561)) == "0, 1, 2 and 15,558 more"
    assert some(["a", "b"], 1) == "a and 1 more"


def test_counts_have_their_noun() -> None:
    assert [count(1, "photo"), count(15_561, "photo"), count(2, "class", "classes")] == [
        "1 photo",
        "15,561 photos",
        "2 classes",
    ]


def test_strange_text_stays_on_one_short_line() -> None:
    assert visible("a\x1b[2J\nб\u202e") == "a\\x1b[2J\\nб\\u202e"
    assert brief("я" * 200) == "я" * 79 + "…"
    assert place_of(("stage", 0, "l\nr")) == "stage.0.l\\nr"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "/secret/path"), "No such file or directory"),
        (OSError("only a text"), "only a text"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_cause_never_says_none_nor_the_path(fault: OSError, said: str) -> None:
    assert cause(fault) == said


def test_an_exception_is_one_line() -> None:
    assert one_line(ValueError("first\n  second")) == "ValueError: first second"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("x" * 10_000))) == SHOWN_OF_FAULT
