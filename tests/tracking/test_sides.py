"""Runs are paired photo by photo, one by one or taken together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from carspotter.errors import TrackingError
from carspotter.evaluation.shares import share, wilson
from carspotter.recipe import Recipe
from carspotter.records import Dataset, Evaluation, HeldOut, Machine, Run, Scores
from carspotter.tracking.compare import compare_sides
from carspotter.tracking.held_out import NAME
from carspotter.tracking.index import Index, Known
from carspotter.tracking.runs import RunStore
from carspotter.tracking.sides import Side, make_side, match, read_sides

IDS = tuple(f"{i}.jpg" for i in range(100))
TRUTH = np.arange(100) % 2


def answers(
    wrong: Sequence[int],
    ids: Sequence[str] = IDS,
    truth: np.ndarray = TRUTH,
    groups: np.ndarray | None = None,
) -> HeldOut:
    """Held-out answers that are wrong on these rows only."""
    said = truth.copy()
    said[list(wrong)] = 1 - said[list(wrong)]
    logits = np.zeros((len(ids), 2), np.float32)
    logits[np.arange(len(ids)), said] = 1
    return HeldOut(tuple(ids), logits, truth.astype(np.int64), groups)


@pytest.fixture
def side(make_run: Callable[..., Run]) -> Callable[..., Side]:
    """A side of runs "aaaa…", "bbbb…", … with these answers."""

    def make(letters: str, *kept: HeldOut, **changes: object) -> Side:
        runs = [make_run(letter * 32, **changes) for letter in letters]
        return make_side(runs, {run.id: one for run, one in zip(runs, kept, strict=False)})

    return make


# ---- single runs ----------------------------------------------------------------------------------------------------


def test_two_runs_are_told_apart_by_the_photos_they_part_on(side: Callable[..., Side]) -> None:
    a, b = side("a", answers(range(30))), side("b", answers(range(10)), name="other")
    (verdict,) = compare_sides([a, b]).verdicts
    assert verdict.startswith(
        "tiny aaaaaaaa / other bbbbbbbb: distinguishable: other is right on 20 photos more of 100 (20 only other, "
        "0 only tiny; difference +20.0 points ["
    )
    assert verdict.endswith("p < .001). This is one training each; another seed moves either figure.")


def test_equal_names_give_way_to_ids(side: Callable[..., Side]) -> None:
    (verdict,) = compare_sides([side("a", answers([1, 2])), side("b", answers([3]))]).verdicts
    assert "not distinguishable: bbbbbbbb is right on 1 photo more of 100 (2 only bbbbbbbb, 1 only aaaaaaaa" in verdict
    assert "another seed" not in verdict


def test_without_answers_the_intervals_speak(side: Callable[..., Side]) -> None:
    (verdict,) = compare_sides([side("a", answers([])), side("b")]).verdicts
    assert "95 % intervals overlap" in verdict
    assert verdict.endswith("it needs the answers, and not both kept them.")


def test_only_common_photos_with_one_label_count(side: Callable[..., Side]) -> None:
    relabelled = np.r_[1 - TRUTH[50:60], TRUTH[60:]]
    a = side("a", answers(range(70, 75)))
    b = side("b", answers([], IDS[50:], relabelled), validation="w" * 64)
    found = match(a, b)
    assert found.paired is not None
    assert (found.paired.photos, found.paired.only_b, found.paired.only_a) == (40, 5, 0)
    assert found.remark == "Not the same validation photos: of 100 and 50, the 40 that both answered count."
    c = side("b", answers([], IDS[50:], relabelled), validation="w" * 64, dataset="e" * 64)
    assert match(a, c).remark.endswith("matched by id and label, because the data are not the same.")


def test_labels_are_compared_by_name_not_by_number(side: Callable[..., Side]) -> None:
    a, b = side("a", answers([])), side("b", answers([], truth=1 - TRUTH), classes=("b", "a"), validation="w" * 64)
    found = match(a, b)
    assert found.paired is not None
    assert found.paired.photos == 100
    assert match(a, side("b", answers([], truth=1 - TRUTH), validation="w" * 64)).paired is None


def test_no_common_photo_is_no_verdict(side: Callable[..., Side]) -> None:
    a, b = side("a", answers([], IDS[:50], TRUTH[:50])), side("b", answers([], IDS[50:], TRUTH[50:]), validation="w")
    (verdict,) = compare_sides([a, b]).verdicts
    assert verdict == "tiny aaaaaaaa / tiny bbbbbbbb: no photo was answered by both: no verdict."


def test_copies_of_one_photo_are_one_witness(side: Callable[..., Side]) -> None:
    """B is right on eight photos more, which show two pictures."""
    groups = np.r_[[0] * 4, [4] * 4, 8:100]
    blind = compare_sides([side("a", answers(range(8))), side("b", answers([]))]).verdicts
    assert ": distinguishable: bbbbbbbb is right on 8 photos more of 100 (" in blind[0]
    told = side("a", answers(range(8), groups=groups))
    for other in (answers([]), answers([], groups=groups)):  # one run that knows is enough
        (verdict,) = compare_sides([told, side("b", other)]).verdicts
        assert ": not distinguishable: bbbbbbbb is right on 8 photos more of 100 in 94 groups (" in verdict


# ---- several runs of a side -----------------------------------------------------------------------------------------


def test_folds_are_pooled_out_of_fold(side: Callable[..., Side]) -> None:
    folds = [(IDS[:50], TRUTH[:50]), (IDS[50:], TRUTH[50:])]
    a = side("ab", *(answers(range(10), *fold) for fold in folds))
    b = side("cd", *(answers(range(2), *fold) for fold in folds))
    found = match(a, b).paired
    assert found is not None
    assert (found.photos, found.answers, found.only_a, found.only_b) == (100, (100, 100), 0, 16)
    assert found.groups == 100
    assert not found.several
    (verdict,) = compare_sides([a, b]).verdicts
    assert "distinguishable: " in verdict
    assert verdict.endswith(
        "Folds are pooled, no photo was answered twice (2 and 2 trainings); how far another seed moves either figure "
        "is not known."
    )


def test_folds_stand_in_the_table_as_the_one_set_they_are(
    make_run: Callable[..., Run], make_evaluation: Callable[..., Evaluation], recipe: Recipe
) -> None:
    def fold(number: int, value: float, method: str = "folds", copies: int = 1, **changes: object) -> Run:
        parts = recipe.split.model_copy(update={"method": method, "fold": number})
        own = recipe.model_copy(update={"split": parts, **changes})
        figure = share(np.arange(100) < 100 * value, np.arange(100) // copies)
        evaluation = make_evaluation(figure.low, figure.value, figure.high)
        return make_run(f"{number}" * 32, recipe=own, validation=f"{number}" * 64, evaluation=evaluation)

    def cells(*runs: Run) -> dict[str, str]:
        return {name: cell for name, cell, _ in compare_sides([Side(runs), Side((make_run(),))]).rows()}

    found = cells(fold(0, 0.5), fold(1, 0.7))
    assert found["accuracy"] == "0.600 [0.531, 0.665] (2 folds)"
    assert found["log loss"] == "1.250 (2 folds)"
    assert found["validation photos"] == "200 in 2 folds"
    # Two photos of each car: half as many witnesses in all, and the interval that wilson(60, 100) has.
    copied = cells(fold(0, 0.5, copies=2), fold(1, 0.7, copies=2))["accuracy"]
    assert copied == f"{(half := wilson(60, 100)).value:.3f} [{half.low:.3f}, {half.high:.3f}] (2 folds)"
    # Another division, or another hold-out, may share photos; what parts their figures is not chance alone.
    for other in (fold(1, 0.7, seed=1), fold(1, 0.7, method="holdout")):
        assert cells(fold(0, 0.5), other)["accuracy"] == "0.600 (2 runs on 2 sets of photos)"


def test_folds_of_near_copies_grouped_anew_are_another_division(make_run: Callable[..., Run], recipe: Recipe) -> None:
    """The settings are the same; the stored split tells that the blocks are not."""

    def fold(number: int, blocks: int) -> Run:
        own = recipe.model_copy(
            update={"split": recipe.split.model_copy(update={"method": "folds", "fold": number, "folds": 5})}
        )
        kept = f"groups and near copies kept on one side ({blocks} blocks of 100 photos)"
        said = f"fold {number} of 5, seed 0, stratified by class; {kept}"
        return make_run(f"{number}" * 32, recipe=own, validation=f"{number}" * 64, split=said)

    assert Side((fold(0, 95), fold(1, 95))).folds
    assert not Side((fold(0, 95), fold(1, 90))).folds


def test_folds_times_seeds_show_what_seeds_move_and_not_what_folds_do(
    make_run: Callable[..., Run], make_evaluation: Callable[..., Evaluation]
) -> None:
    """Fold 1 is 20 points easier; a seed moves a figure by a point."""
    figures = [(fold, seed, 0.5 + 0.2 * fold + 0.01 * seed) for fold in range(2) for seed in range(3)]
    runs = [
        make_run(f"{n:x}" * 32, validation=f"{fold}" * 64, evaluation=make_evaluation(value - 0.1, value, value + 0.1))
        for n, (fold, _, value) in enumerate(figures)
    ]
    rows = {name: cells for name, *cells in compare_sides([Side(tuple(runs)), Side((make_run("f" * 32),))]).rows()}
    assert rows["accuracy"][0] == "0.610 ± 0.010 (6 runs on 2 sets of photos)"


def test_trainings_that_share_photos_but_no_set_tell_nothing_of_seeds(
    make_run: Callable[..., Run], recipe: Recipe
) -> None:
    kept = {"a" * 32: answers([], IDS[:60], TRUTH[:60]), "b" * 32: answers([], IDS[40:], TRUTH[40:])}
    runs = [make_run("a" * 32), make_run("b" * 32, validation="w" * 64)]
    one = make_run("c" * 32, validation="x" * 64)
    sides = [make_side(runs, kept), make_side([one], {one.id: answers([1])})]
    (verdict,) = compare_sides(sides).verdicts
    assert verdict.endswith("how far seeds move either figure is not known.")


def test_several_comparisons_at_once_are_corrected(side: Callable[..., Side]) -> None:
    first = side("a", answers(range(20)))
    others = [side(letter, answers(range(missed))) for letter, missed in (("b", 14), ("c", 15), ("d", 19))]
    alone = compare_sides([first, others[0]]).verdicts[0]
    *each, raised, _ = compare_sides([first, *others]).verdicts
    assert ": distinguishable" in alone
    assert "among" not in alone
    assert all(": not distinguishable" in verdict for verdict in each)
    assert "p = .030 taken alone, p = .090 among 3 comparisons)" in each[0]
    assert raised.startswith("p is raised for 3 comparisons at once (Holm), and the verdicts follow it")


def test_a_pair_without_answers_is_not_counted_among_the_tests(side: Callable[..., Side]) -> None:
    sides = [side("a", answers(range(20))), side("b", answers(range(5))), side("c")]
    paired, unpaired, alone, _ = compare_sides(sides).verdicts
    assert "taken alone" not in paired
    assert "intervals overlap" in unpaired
    assert alone == "The intervals are for one comparison alone, not for 2."


def test_seeds_of_one_side_are_kept_together(side: Callable[..., Side]) -> None:
    a, b = side("abc", *[answers(range(25))] * 3), side("d", answers(range(17)))
    (verdict,) = compare_sides([a, b]).verdicts
    assert verdict.startswith(
        "tiny aaaaaaaa +2 / tiny dddddddd: distinguishable: dddddddd minus aaaaaaaa is +8.0 points"
    )
    assert "100 and 300 answers, those of one photo kept together" in verdict
    assert "how far seeds move the figure stands in the table" in verdict


def test_a_photo_under_two_labels_within_a_side_does_not_count(side: Callable[..., Side]) -> None:
    a = side("ab", answers([]), answers([], truth=np.r_[1 - TRUTH[:1], TRUTH[1:]]))
    found = match(a, side("c", answers([]))).paired
    assert found is not None
    assert found.photos == 99


def test_a_pool_with_a_run_without_answers_gets_no_verdict(side: Callable[..., Side]) -> None:
    (verdict,) = compare_sides([side("ab", answers([])), side("c", answers([]))]).verdicts
    assert "no verdict, because not every run kept its held-out answers (among aaaaaaaa, bbbbbbbb)" in verdict


def test_a_pool_shows_mean_and_spread(side: Callable[..., Side]) -> None:
    found = compare_sides([side("abc"), side("d")])
    rows = {name: cells for name, *cells in found.rows()}
    assert found.columns == ("", "tiny aaaaaaaa +2", "tiny dddddddd")
    assert rows["accuracy"] == ["0.500 ± 0.000 (3 runs)", "0.500 [0.400, 0.600]"]
    assert rows["log loss"] == ["1.250 ± 0.000 (3 runs)", "1.250"]
    assert rows["whole time"] == ["36.0 s", "12.0 s"]
    assert rows["validation photos"] == ["100", "100"]


def test_a_pool_of_two_recipes_is_named(make_run: Callable[..., Run], recipe: Recipe) -> None:
    seeds = [make_run(c * 32, recipe=recipe.model_copy(update={"seed": n})) for n, c in enumerate("ab")]
    found = compare_sides([Side(tuple(seeds)), Side((make_run("c" * 32),))])
    assert found.conditions == ()
    assert dict(found.settings) == {"seed": (0, 1, 0)}
    assert ("seed", "0, 1", "0") in found.rows()
    mixed = make_run("d" * 32, recipe=recipe.model_copy(update={"fit": "crop"}))
    found = compare_sides([Side((*seeds, mixed)), Side((make_run("c" * 32),))])
    assert found.conditions == ("tiny aaaaaaaa +2 takes together what is not one recipe on one set: fit.",)


def test_outside_photos_are_said(side: Callable[..., Side]) -> None:
    found = compare_sides([side("a"), side("b", extra=("900 photos of cars.zip",))])
    told = "not the same outside photos in training, or another teacher (none; 900 photos of cars.zip)."
    assert found.conditions == (f"tiny aaaaaaaa / tiny bbbbbbbb: {told}",)


def test_a_run_stands_in_one_place_only(side: Callable[..., Side]) -> None:
    with pytest.raises(TrackingError, match="two or more different runs"):
        compare_sides([side("ab"), side("bc")])


# ---- from the store -------------------------------------------------------------------------------------------------


def test_the_index_is_read_no_more_often_for_more_ids(
    store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for _ in range(4):
        with store.start(recipe, dataset, machine) as run:
            run.finish()
        ids.append(run.id)
    known, asked = Index.known, []

    def counting(index: Index) -> dict[str, Known]:
        asked.append(index)
        return known(index)

    monkeypatch.setattr(Index, "known", counting)
    read_sides(store, ids[:2])
    few = len(asked)
    read_sides(store, [",".join(ids[:2]), *ids[2:]])
    assert len(asked) == 2 * few


def test_sides_are_read_with_their_answers(store: RunStore, recipe: Recipe, dataset: Dataset, machine: Machine) -> None:
    ids = []
    for number in range(3):
        with store.start(recipe, dataset, machine) as run:
            if number:
                kept = answers(range(number))
                run.answers(Scores(kept.ids, kept.logits, np.zeros((100, 1), np.float32)), kept.labels)
            run.finish()
        ids.append(run.id)
        folder = run.folder
    (first, second), damaged = read_sides(store, [f"{ids[0]},{ids[1]}", ids[2]])
    assert ([run.id for run in first.runs], first.answers) == (ids[:2], ())
    assert len(second.answers) == 1
    assert damaged == ()
    (folder / NAME).write_bytes(b"no")
    (_, second), damaged = read_sides(store, ids[:1] + ids[2:])
    assert second.answers == ()
    assert NAME in damaged[0]
    (first, second), _ = read_sides(store, [f"{ids[0]},{ids[1]},{ids[0]}", ids[1][:10]])
    assert [run.id for run in (*first.runs, *second.runs)] == [ids[0], ids[1], ids[0], ids[1]]
    with pytest.raises(TrackingError, match="an id is missing beside a comma"):
        read_sides(store, ["a,", "b"])
