from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from carspotter.evaluation.metrics import evaluate
from carspotter.records import HeldOut, Run, Scores
from carspotter.tracking import leaderboard
from carspotter.tracking.leaderboard import APPROXIMATE, CHOSEN, LUCKY, NEAR, UNPAIRED, leaderboards

IDS = tuple(f"{i}.jpg" for i in range(400))
TRUTH = (np.arange(400) % 2).astype(np.int64)


def scores(wrong: int, sure: float = 2.0) -> Scores:
    """Right answers but for the first photos; how sure decides the log loss."""
    said = np.r_[1 - TRUTH[:wrong], TRUTH[wrong:]]
    logits = np.zeros((400, 2), np.float32)
    logits[np.arange(400), said] = sure
    return Scores(IDS, logits, np.zeros((400, 1), np.float32))


@pytest.fixture
def judged(make_run: Callable[..., Run]) -> Callable[..., tuple[Run, HeldOut]]:
    def make(letter: str, wrong: int, sure: float = 2.0, **changes: Any) -> tuple[Run, HeldOut]:
        answers = scores(wrong, sure)
        run = make_run(
            letter * 32,
            **{"bundle_hash": letter, "evaluation": evaluate(answers, TRUTH, ("a", "b")), "name": letter} | changes,
        )
        return run, HeldOut(IDS, answers.logits, TRUTH)

    return make


def kept(*pairs: tuple[Run, HeldOut]) -> dict[str, HeldOut]:
    return {run.id: answers for run, answers in pairs}


def test_best_first_with_what_the_photos_cannot_tell(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    pairs = [judged("a", 100), judged("b", 40), judged("c", 43)]
    (board,), left_out = leaderboards([run for run, _ in pairs], kept(*pairs))
    assert board.title == "400 validation photos, set vvvvvvvv (hold-out, seed 0), no outside photos"
    assert [(row[1], row[2], row[4], row[5]) for row in board.rows] == [
        ("b", "0.900 [0.867, 0.926]", "0.2", "best"),
        ("c", "0.892 [0.858, 0.919]", "0.2", "not distinguishable, p = .25"),
        ("a", "0.750 [0.705, 0.790]", "0.2", "worse, p < .001"),
    ]
    assert board.remarks == (CHOSEN.format(3), LUCKY)
    assert left_out == ()


def test_being_chosen_among_many_is_harder_to_beat(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    """Six photos behind the best: worse where there are two, luck where the best of 30 was chosen."""
    rng = np.random.default_rng(0)
    best, other = judged("a", 40), judged("b", 46)
    (alone,), _ = leaderboards([best[0], other[0]], kept(best, other))
    assert alone.rows[1][5].startswith("worse, p = .03")
    others = []
    for letter in "cdefghijklmnopqrstuvwxyz":
        run, answers = judged(letter, 48)
        others.append((run, HeldOut(tuple(rng.permutation(IDS)), answers.logits, TRUTH)))
    (many,), _ = leaderboards([run for run, _ in (best, other, *others)], kept(best, other, *others))
    standing = {row[1]: row[5] for row in many.rows}
    assert standing["b"].startswith("not distinguishable")


def test_copies_of_one_photo_are_one_loss(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    """Twelve photos fewer are luck where they show one picture; the log loss is less sure too."""
    (best, _), (worse, _) = pairs = [judged("a", 40), judged("b", 52)]
    groups = np.r_[range(40), [40] * 12, 52:400]
    grouped = {run.id: HeldOut(some.ids, some.logits, some.labels, groups) for run, some in pairs}
    (blind,), _ = leaderboards([best, worse], kept(*pairs))
    (told,), _ = leaderboards([best, worse], grouped)
    assert blind.rows[1][5].startswith("worse, p")
    assert told.rows[1][5].startswith("not distinguishable, p = 1")
    (blind,), _ = leaderboards([best, worse], kept(*pairs), "log_loss")
    (told,), _ = leaderboards([best, worse], grouped, "log_loss")
    assert blind.rows[1][3].split()[0] == told.rows[1][3].split()[0]
    assert blind.rows[1][3] != told.rows[1][3]


def test_equal_trainings_are_not_called_worse(make_run: Callable[..., Run]) -> None:
    rng = np.random.default_rng(1)
    runs, answers = [], {}
    for n in range(50):
        right = rng.random(94) < 0.8
        logits = np.where(np.arange(2) == np.where(right, TRUTH[:94], 1 - TRUTH[:94])[:, None], 2.0, 0.0)
        scored = Scores(IDS[:94], logits.astype(np.float32), np.zeros((94, 1), np.float32))
        run_id = f"{n:032x}"
        runs.append(make_run(run_id, bundle_hash=run_id, evaluation=evaluate(scored, TRUTH[:94], ("a", "b"))))
        answers[run_id] = HeldOut(IDS[:94], scored.logits, TRUTH[:94])
    for by in ("accuracy", "log_loss"):
        (board,), _ = leaderboards(runs, answers, by)  # type: ignore[arg-type]
        assert {row[5].partition(",")[0] for row in board.rows[1:]} == {"not distinguishable"}


def test_without_answers_the_intervals_must_do(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    best, near, far = judged("a", 40), judged("b", 43), judged("c", 100)
    (board,), _ = leaderboards([best[0], near[0], far[0]], kept(best))
    assert [row[5] for row in board.rows] == [
        "best",
        "intervals overlap, no answers to pair",
        "intervals do not overlap, no answers to pair",
    ]
    assert board.remarks == (UNPAIRED.format(3), LUCKY)
    (board,), _ = leaderboards([best[0], near[0]], {}, "log_loss")
    assert board.rows[1][5] == "no answers to pair"


def test_outside_photos_and_other_photos_have_tables_of_their_own(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    pairs = [judged("a", 40), judged("b", 50), judged("c", 1, extra=("x",)), judged("d", 2, validation="w" * 64)]
    pairs.append(judged("e", 0, excluded="copied"))
    boards, left_out = leaderboards([run for run, _ in pairs], kept(*pairs))
    assert [[row[1] for row in board.rows] for board in boards] == [["a", "b"], ["c"], ["d"]]
    assert boards[1].title.endswith("with outside photos")
    assert left_out == ("left out: 1 run marked as no training of its own",)


def test_by_log_loss_being_too_sure_costs_the_first_place(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    sure, modest = judged("a", 40, sure=20.0), judged("b", 44, sure=2.0)
    runs, answers = [sure[0], modest[0]], kept(sure, modest)
    (board,), _ = leaderboards(runs, answers)
    assert [row[1] for row in board.rows] == ["a", "b"]
    (board,), _ = leaderboards(runs, answers, "log_loss")
    assert [row[1] for row in board.rows] == ["b", "a"]
    assert board.rows[1][5] == "worse, p < .001"
    assert board.rows[0][3].startswith("0.347 [0.")
    assert modest[0].evaluation is not None
    assert modest[0].evaluation.log_loss == pytest.approx(0.347, abs=5e-4)


def test_what_the_test_of_log_losses_is_worth_is_said(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    pairs = [judged("a", 40), judged("b", 44)]
    (board,), _ = leaderboards([run for run, _ in pairs], kept(*pairs), "log_loss")
    assert board.remarks == (CHOSEN.format(2), APPROXIMATE)


def test_that_compare_may_say_otherwise_is_said_where_it_may(judged: Callable[..., tuple[Run, HeldOut]]) -> None:
    for missed, said in ((45, True), (90, False), (40, False)):
        pairs = [judged("a", 40), judged("b", missed)]
        (board,), _ = leaderboards([run for run, _ in pairs], kept(*pairs))
        assert (NEAR in board.remarks) == said, missed


def test_of_too_many_runs_the_first_are_tested(
    judged: Callable[..., tuple[Run, HeldOut]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboard, "MOST", 2)
    pairs = [judged("a", 100), judged("b", 40), judged("c", 43), judged("d", 101)]
    (board,), _ = leaderboards([run for run, _ in pairs], kept(*pairs))
    assert [(row[1], row[5].partition(",")[0]) for row in board.rows] == [
        ("b", "best"),
        ("c", "not distinguishable"),
        ("a", "not tested"),
        ("d", "not tested"),
    ]
    assert board.remarks == (
        CHOSEN.format(2),
        "only the first 2 of 4 with answers are tested against one another",
        LUCKY,
    )


def test_no_runs_are_no_tables() -> None:
    assert leaderboards([], {}) == ((), ())
