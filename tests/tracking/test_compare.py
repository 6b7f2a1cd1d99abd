from __future__ import annotations

from collections.abc import Callable

import pytest

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe
from carspotter.records import EpochRecord, Evaluation, Figure, Imported, Machine, Run
from carspotter.tracking.compare import compare
from carspotter.tracking.differences import rerun_differences

B = "b" * 32


def changed(recipe: Recipe, **settings: object) -> Recipe:
    return recipe.model_copy(update=settings)


def stage_changed(recipe: Recipe, **settings: object) -> Recipe:
    first, *rest = recipe.stage
    return changed(recipe, stage=(first.model_copy(update=settings), *rest))


# ---- settings -------------------------------------------------------------------------------------------------------


def test_only_settings_that_differ_are_shown(make_run: Callable[..., Run], recipe: Recipe) -> None:
    other = changed(stage_changed(recipe, lr=0.5), name="other", about="another", seed=3)
    found = compare([make_run(), make_run(B, recipe=other), make_run("c" * 32)]).settings
    assert found == {"seed": (0, 3, 0), "stage.0.lr": (0.01, 0.5, 0.01)}


def test_a_stage_that_only_one_has_is_one_line(make_run: Callable[..., Run], recipe: Recipe) -> None:
    found = compare([make_run(), make_run(B, recipe=changed(recipe, stage=recipe.stage[:1]))]).settings
    assert found == {"stage.1": ("all: 3 epochs of all at 96x64", None)}


def test_equal_runs_differ_in_nothing(make_run: Callable[..., Run]) -> None:
    found = compare([make_run(), make_run(B)])
    assert (found.settings, found.conditions) == ({}, ())


@pytest.mark.parametrize("ids", ["", "a", "aa", "aba"])
def test_comparing_needs_different_runs(make_run: Callable[..., Run], ids: str) -> None:
    with pytest.raises(TrackingError, match="comparing needs two or more different runs, got"):
        compare([make_run(one * 32) for one in ids])


# ---- rows of a log --------------------------------------------------------------------------------------------------


@pytest.fixture
def row(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """A row of another program's log, with the settings that it names."""

    def make(letter: str, own: Recipe, *stated: str) -> Run:
        figure = Figure(value=0.5, low=0.4, high=0.6, n=90)
        imported = Imported(source="log.csv", row=letter, key=letter, accuracy=figure, cells={}, stated=stated)
        return make_run(
            letter * 32, recipe=own, imported=imported, evaluation=None, validation=None, bundle_hash=None, photos=0
        )

    return make


def test_what_a_log_leaves_open_is_unknown(
    make_run: Callable[..., Run], row: Callable[..., Run], recipe: Recipe
) -> None:
    logged = row("b", stage_changed(recipe, lr=0.5), "stage.0.lr")
    ours = make_run(recipe=changed(recipe, seed=3))
    found = compare([ours, logged, make_run("c" * 32, recipe=changed(recipe, seed=4))])
    assert found.settings == {"stage.0.lr": (0.01, 0.5, 0.01), "seed": (3, "unknown", 4)}
    (silent,) = [sentence for sentence in found.conditions if "a log does not tell data, code and machine" in sentence]
    assert silent.startswith("tiny aaaaaaaa / tiny bbbbbbbb: ")
    assert not any("0 photos" in sentence or "threads" in sentence for sentence in found.conditions)


def test_what_only_one_log_names_is_shown(row: Callable[..., Run], recipe: Recipe) -> None:
    """Its value may be the other's too, but that is not known."""
    found = compare([row("a", recipe, "stage.0.lr", "fit"), row("b", recipe, "fit")])
    assert found.settings == {"stage.0.lr": (0.01, "unknown")}


# ---- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"dataset": "e" * 64, "photos": 12},
            "not the same data (10 and 12 photos, fingerprints dddddddd and eeeeeeee)",
        ),
        ({"classes": ("a", "b", "c")}, "not the same classes (2 and 3)"),
        ({"split": "fold 1 of 5"}, "not split the same way (hold-out, seed 0; fold 1 of 5)"),
        ({"validation": "w" * 64}, "not the same validation photos; the figures cannot be compared directly"),
        ({"validation": None}, "which photos validated at least one is not known; the figures cannot be compared"),
        ({"code_version": "0.2.0"}, "not the same code (0.1.0+g0123456789ab and 0.2.0)"),
    ],
)
def test_other_conditions_are_said_plainly(make_run: Callable[..., Run], change: dict[str, object], said: str) -> None:
    conditions = compare([make_run(), make_run(B, **change)]).conditions
    assert f"tiny aaaaaaaa / tiny bbbbbbbb: {said}." in conditions


def test_corrected_labels_elsewhere_leave_the_figures_comparable(make_run: Callable[..., Run]) -> None:
    conditions = compare([make_run(), make_run(B, dataset="e" * 64)]).conditions
    assert [sentence.partition(": ")[2] for sentence in conditions] == [
        "not the same data (10 and 10 photos, fingerprints dddddddd and eeeeeeee).",
        "the validation photos and their labels are nevertheless the same.",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": 4}, "not the same threads (2 and 4)"),
        ({"processor": "another"}, "not the same processor (a processor and another)"),
        ({"device": "cuda"}, "not the same device (cpu and cuda)"),
        ({"python": "3.12.1"}, "not the same python (3.11.7 and 3.12.1)"),
        (
            {"packages": {"numpy": "2.4.6", "torch": "2.15.0", "timm": "1.0"}},
            "not the same packages (timm – and 1.0, torch 2.14.1 and 2.15.0)",
        ),
    ],
)
def test_other_machines_are_said_plainly(
    make_run: Callable[..., Run], machine: Machine, change: dict[str, object], said: str
) -> None:
    other = make_run(B, machine=machine.model_copy(update=change), bundle_hash="c" * 64)
    assert compare([make_run(), other]).conditions == (f"tiny aaaaaaaa / tiny bbbbbbbb: {said}.",)
    assert rerun_differences(make_run(), other) == (said,)


# ---- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.55, 0.65, 0.75), "95 % intervals overlap: these 100 photos do not show which is better"),
        ((0.6, 0.7, 0.8), "95 % intervals overlap"),  # touching is overlapping
        ((0.45, 0.5, 0.55), "95 % intervals overlap"),  # one inside the other
        ((0.61, 0.7, 0.8), "do not overlap: on photos like these 100, tiny bbbbbbbb is better beyond chance"),
        ((0.1, 0.2, 0.39), "do not overlap: on photos like these 100, tiny aaaaaaaa is better beyond chance"),
    ],
)
def test_the_verdict_says_no_more_than_the_intervals(
    make_run: Callable[..., Run],
    make_evaluation: Callable[..., Evaluation],
    interval: tuple[float, float, float],
    said: str,
) -> None:
    (verdict,) = compare([make_run(), make_run(B, evaluation=make_evaluation(*interval))]).verdicts
    assert said in verdict
    assert verdict.startswith("tiny aaaaaaaa / tiny bbbbbbbb: accuracy 0.500 [0.400, 0.600] and ")
    assert ("paired test" in verdict) == ("do not show" in verdict)
    assert ("another seed" in verdict) == ("beyond chance" in verdict)


@pytest.mark.parametrize(
    ("validation", "said"), [("w" * 64, " on different photos"), (None, ", not known to be on the same photos")]
)
def test_other_photos_get_no_verdict(
    make_run: Callable[..., Run], make_evaluation: Callable[..., Evaluation], validation: str | None, said: str
) -> None:
    other = make_run(B, validation=validation, evaluation=make_evaluation(0.8, 0.9, 0.95))
    (verdict,) = compare([make_run(), other]).verdicts
    assert verdict.endswith(f"95 % intervals{said}: no verdict.")


def test_a_run_without_a_result_gets_no_verdict(make_run: Callable[..., Run]) -> None:
    (verdict,) = compare([make_run(), make_run(B, status="failed", evaluation=None)]).verdicts
    assert verdict.endswith("at least one has no result.")


def test_the_best_of_many_is_called_lucky(make_run: Callable[..., Run]) -> None:
    verdicts = compare([make_run(), make_run(B), make_run("c" * 32)]).verdicts
    assert verdicts[2] == "The intervals are for one comparison alone, not for 2."
    assert verdicts[3].startswith("Of 3 runs the best one is partly the luckiest one")
    assert "luckiest" not in str(compare([make_run(), make_run(B)]))


# ---- text -----------------------------------------------------------------------------------------------------------


def test_results_stand_side_by_side(
    make_run: Callable[..., Run], make_epoch: Callable[..., EpochRecord], recipe: Recipe
) -> None:
    other = make_run(
        B,
        status="interrupted",
        seconds=None,
        evaluation=None,
        bundle_hash=None,
        timings={"head": 2.0},
        history=(make_epoch(),),
        recipe=stage_changed(recipe, lr=0.5),
    )
    found = compare([make_run(), other])
    assert found.columns == ("", "tiny aaaaaaaa", "tiny bbbbbbbb")
    assert found.rows() == (
        ("status", "finished", "interrupted"),
        ("accuracy", "0.500 [0.400, 0.600]", "–"),
        ("top-3 accuracy", "0.800 [0.700, 0.900]", "–"),
        ("mean recall", "0.450", "–"),
        ("log loss", "1.250", "–"),
        ("validation photos", "100", "–"),
        ("epochs", "0", "1"),
        ("whole time", "12.0 s", "–"),
        ("bundle hash", "bbbbbbbb", "–"),
        ("decode time", "1.0 s", "–"),
        ("head time", "–", "2.0 s"),
        ("stage.0.lr", "0.01", "0.5"),
    )


def test_as_text_the_columns_stand_below_each_other(make_run: Callable[..., Run]) -> None:
    head, *rows = str(compare([make_run(), make_run(B)])).splitlines()
    assert head.index("tiny bbbbbbbb") == rows[1].rindex("0.500")
    assert rows[-1].startswith("tiny aaaaaaaa / tiny bbbbbbbb: accuracy")


# ---- rerun ----------------------------------------------------------------------------------------------------------


def test_the_same_hash_is_the_same_model(make_run: Callable[..., Run], machine: Machine) -> None:
    """Whatever else changed did not matter."""
    elsewhere = make_run(B, code_version="9", machine=machine.model_copy(update={"threads": 64}))
    assert rerun_differences(make_run(), elsewhere) == ()


def test_another_hash_names_all_that_changed(make_run: Callable[..., Run], recipe: Recipe) -> None:
    new = make_run(
        B, bundle_hash="c" * 64, dataset="e" * 64, code_version="9", recipe=changed(recipe, seed=1), validation="w" * 64
    )
    assert rerun_differences(make_run(), new) == (
        "not the same settings (seed)",
        "not the same data (10 and 10 photos, fingerprints dddddddd and eeeeeeee)",
        "not the same validation photos",
        "not the same code (0.1.0+g0123456789ab and 9)",
    )


def test_another_hash_from_equal_conditions_is_admitted(make_run: Callable[..., Run]) -> None:
    (sentence,) = rerun_differences(make_run(), make_run(B, bundle_hash="c" * 64))
    assert sentence.startswith("nothing recorded changed, and yet the bundle hash is cccccccc instead of bbbbbbbb")


def test_another_split_of_the_same_data_is_seen(make_run: Callable[..., Run]) -> None:
    found = rerun_differences(make_run(), make_run(B, bundle_hash="c" * 64, validation="w" * 64))
    assert found == ("not the same validation photos, although data and way of splitting are",)


def test_other_validation_photos_are_said_beside_other_code(make_run: Callable[..., Run]) -> None:
    """Newer code may group near copies in another way: the settings do not tell."""
    found = rerun_differences(make_run(), make_run(B, bundle_hash="c" * 64, validation="w" * 64, code_version="9"))
    assert found == (
        "not the same validation photos, although data and way of splitting are",
        "not the same code (0.1.0+g0123456789ab and 9)",
    )


def test_uncommitted_code_may_be_other_code(make_run: Callable[..., Run]) -> None:
    old, new = (make_run(run_id, code_version="0.1.0+g1.dirty", bundle_hash=run_id) for run_id in ("a" * 32, B))
    assert rerun_differences(old, new) == (
        "the code had changes that no commit holds (0.1.0+g1.dirty), so it may differ",
    )


def test_a_run_without_a_model_cannot_be_proved(make_run: Callable[..., Run]) -> None:
    lost = make_run(B, status="interrupted", bundle_hash=None)
    assert rerun_differences(make_run(), lost) == ("run bbbbbbbb is interrupted and has no model to compare",)
    assert len(rerun_differences(lost, lost)) == 2
