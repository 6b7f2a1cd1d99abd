"""Which rows of a log are trainings of their own.

A log is often filled in by copying the row above: the copy then shows settings that were never trained. What gives a
copy away is its history. A loss printed with seven digits or more, or a clock with its microseconds, never comes twice
by chance; an accuracy does, being a count of few photos. So two rows carry one history when in any column of losses or
clocks at least half of the values are equal, epoch by epoch. That holds too when somebody has edited a few of them.

Of rows with one history, the training is the one that contradicts itself least (its history is as long as its settings
say, its epochs fill its time, its final accuracy is one of its epochs'), then the earliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carspotter.data.wording import some
from carspotter.tracking.seed.columns import COLUMNS, CURVES, ELLIPSIS, LISTS, Row, number

EVIDENCE = ("R_LOSS", "R_VAL_LOSS", "R_EPOCH_TIME", "R_TRAIN_TIME", "R_BATCH_TIME")
"""Columns of measurements; the accuracies are counts of few photos and come twice by chance."""
SHARE = 0.5
"""Assumption, far from both sides: in the seed's log copies share 93 % of a column or more, other rows nothing."""
DIGITS = 5
"""Assumption: a value with fewer significant digits may come twice by chance and is no evidence."""
SAME = 1e-9
"""Relative. Above what a spreadsheet's 15 digits lose, below two neighbouring float32 values (6e-8)."""
SLACK = 0.1
"""Seconds per epoch between the clock of the run and those of its epochs. Assumption; the seed's log has up to 0.06."""
STOPS_EARLY = "ES"
"""Callback of the notebook: EarlyStopping."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a row is.

    Attributes:
        distinct: a training of its own.
        copy_of: number of the row whose history it carries, or empty.
        reason: why it is no training of its own, or what else carries its history; empty for most trainings.
    """

    distinct: bool
    copy_of: str = ""
    reason: str = ""


def judge(rows: Sequence[Row]) -> tuple[Finding, ...]:
    """What each row is, in the order given; another order of the rows gives the same findings."""
    found: dict[str, Finding] = {}
    complete = sorted((row for row in rows if not _lacks(row)), key=_age)
    for group in _groups(complete):
        first = min(group, key=lambda row: (_contradictions(row), _age(row)))
        copies = sorted((row for row in group if row is not first), key=_age)
        found[first.number] = Finding(distinct=True, reason=_carried(first, copies))
        found |= {row.number: Finding(False, first.number, _copied(row, first)) for row in copies}
    trained = [row for row in complete if found[row.number].distinct]
    found |= {row.number: Finding(False, "", _missing(row, trained)) for row in rows if _lacks(row)}
    return tuple(found[row.number] for row in rows)


def _lacks(row: Row) -> list[str]:
    return [column for column in CURVES if not row.lists[column]]


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that carry one history, however long the chain of copies between them."""
    groups: list[list[Row]] = []
    for row in rows:
        joined = [group for group in groups if any(_one_history(row, other) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), row])
    return groups


def _one_history(a: Row, b: Row) -> bool:
    return any(_shared(a.lists[column], b.lists[column]) >= SHARE for column in EVIDENCE)


def _shared(a: Sequence[str], b: Sequence[str]) -> float:
    """Share of the values, place by place, that are equal and too precise to be so by chance."""
    pairs = [(x, y) for x, y in zip(a, b, strict=False) if ELLIPSIS not in (x, y)]
    if not pairs:
        return 0.0
    return sum(_digits(x) >= DIGITS and _equal(x, y) for x, y in pairs) / len(pairs)


def _digits(text: str) -> int:
    mantissa = text.lower().partition("e")[0]
    return len(mantissa.lstrip("+-").replace(".", "").strip("0"))


def _equal(x: str, y: str) -> bool:
    a, b = float(x), float(y)
    return abs(a - b) <= SAME * max(abs(a), abs(b))


# ---- which of them was trained --------------------------------------------------------------------------------------


def _age(row: Row) -> tuple[str, float, str]:
    """The oldest is the smallest: by date, then by number; a row without a date comes last."""
    count = number(row.number)
    return row.cells["TIME"] or "~", float("inf") if count is None else count, row.number


def _contradictions(row: Row) -> int:
    return sum((not _fits_its_epochs(row), not _fits_its_time(row), not _fits_its_accuracy(row)))


def _fits_its_epochs(row: Row) -> bool:
    asked, done = number(row.cells["M_EPOCHS"]), len(row.lists["R_LOSS"])
    stops_early = STOPS_EARLY in row.cells["M_CALLBACKS_TYPE"].split("_")
    return asked is None or done == asked or (stops_early and done < asked)


def _fits_its_time(row: Row) -> bool:
    """The epochs take a little less than the whole training, never more."""
    whole, epochs = row.values("R_TRAIN_TIME"), row.values("R_EPOCH_TIME")
    return not whole or 0 <= sum(whole) - sum(epochs) <= SLACK * len(epochs)


def _fits_its_accuracy(row: Row) -> bool:
    """Where the kept weights are judged on the very photos of the epochs, the figure is one of theirs."""
    final = row.cells["R_EVA_VAL_ACC"]
    return number(final) is not None and any(_equal(final, value) for value in row.lists["R_VAL_ACC"])


# ---- reasons --------------------------------------------------------------------------------------------------------


def _carried(first: Row, copies: Sequence[Row]) -> str:
    if not copies:
        return ""
    best = all(_contradictions(first) < _contradictions(copy) for copy in copies)
    why = "contradicts itself least" if best else "is the earliest of those that contradict themselves least"
    carriers = "row" if len(copies) == 1 else "rows"
    return f"its history stands also in {carriers} {some([copy.number for copy in copies], 20)}; this one {why}"


def _copied(row: Row, first: Row) -> str:
    edits = [_edits(column, row, first) for column in LISTS if row.lists[column] != first.lists[column]]
    what = f"edited: {', '.join(edits)}" if edits else "to the last digit"
    reason = f"carries the history of row {first.number}, {what}"
    settings = [column for column in COLUMNS if column[:2] != "R_" and column not in ("NUM_EXP", "TIME")]
    own = [column for column in settings if row.cells[column] != first.cells[column]]
    return f"{reason}; its own {some(own, 9)} left no trace in it" if own else reason


def _edits(column: str, row: Row, first: Row) -> str:
    a, b = row.lists[column], first.lists[column]
    if len(a) != len(b):
        return f"{column} has {len(a)} values instead of {len(b)}"
    return f"{column} differs in {sum(x != y for x, y in zip(a, b, strict=True))} of {len(a)}"


def _missing(row: Row, trained: Sequence[Row]) -> str:
    lacking = _lacks(row)
    what = "has no history" if len(lacking) == len(CURVES) else f"has no whole history ({', '.join(lacking)} empty)"
    final = row.cells["R_EVA_VAL_ACC"]
    if number(final) is None:
        return what
    same = [o.number for o in trained if number(o.cells["R_EVA_VAL_ACC"]) is not None and _same_result(row, o)]
    return f"{what}; its accuracy is that of row {some(same)} to the last digit" if same else what


def _same_result(row: Row, other: Row) -> bool:
    return _equal(row.cells["R_EVA_VAL_ACC"], other.cells["R_EVA_VAL_ACC"])
