"""One setting against the rest: planted effects come out, unlike runs stay apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carspotter.errors import TrackingError
from carspotter.recipe import Recipe
from carspotter.records import Figure, HeldOut, Imported, Run
from carspotter.tracking.contrast import show_value
from carspotter.tracking.differences import differing_settings
from carspotter.tracking.effect import effect, find_axis
from carspotter.tracking.effect_picture import draw_effect
from carspotter.tracking.seed_log import read_seed_log
from helpers.seed_log import OPTIMIZER, training, write_log


@pytest.fixture
def trained(make_run: Callable[..., Run], make_evaluation: Callable[..., Any], recipe: Recipe) -> Callable[..., Run]:
    """The n-th run, with head.dropout, seed and accuracy."""

    def make(
        n: int, dropout: float, seed: int, accuracy: float, settings: dict[str, Any] | None = None, **more: Any
    ) -> Run:
        noise = more.pop("noise", 0.02)
        head = recipe.head.model_copy(update={"dropout": dropout})
        own = recipe.model_copy(update={"head": head, "seed": seed, **(settings or {})})
        run_id = f"{n:08x}" + "0" * 24
        evaluation = make_evaluation(accuracy - noise, accuracy, accuracy + noise)
        return make_run(run_id, recipe=own, bundle_hash=run_id, evaluation=evaluation, **more)

    return make


@pytest.fixture
def three_seeds(trained: Callable[..., Run]) -> list[Run]:
    """Dropout 0.5 is 4 points better than 0.0; seeds move a figure by 1 point."""
    figures = {0.0: (0.50, 0.51, 0.52), 0.5: (0.54, 0.55, 0.56)}
    return [
        trained(10 * level + seed, dropout, seed, figure)
        for level, (dropout, some) in enumerate(figures.items())
        for seed, figure in enumerate(some)
    ]


# ---- contrasts ------------------------------------------------------------------------------------------------------


def test_a_planted_effect_and_its_noise_come_out(three_seeds: list[Run]) -> None:
    found = effect(three_seeds, "head.dropout")
    (contrast,) = found.contrasts
    assert [row[:7] for row in found.rows()] == [
        ("A", "0.0", 0.51, 3, 3, 0.01, "base"),
        ("A", "0.5", 0.55, 3, 3, 0.01, "+4.0 points [-9.7, +17.5]"),
    ]
    assert contrast.noise == (pytest.approx(0.01), 4)
    said, noise = contrast.sentences
    assert said == (
        "A: 0.5 minus 0.0 is +4.0 points [-9.7, +17.5], as of two separate samples of 100 photos, because not every "
        "run kept its answers; 3 and 3 runs, 3 shared seeds"
    )
    assert noise == (
        "A: intervals speak for other photos with these trainings; another seed alone moves one run by 1.0 points "
        "(standard deviation, 4 degrees of freedom)"
    )
    assert found.remarks == ()


def test_without_a_repeated_seed_the_spread_is_unknown(three_seeds: list[Run]) -> None:
    found = effect([three_seeds[0], three_seeds[3]], "head.dropout")
    assert [row[5] for row in found.rows()] == [None, None]
    noise = found.contrasts[0].sentences[-1]
    assert noise.endswith("no seed was repeated, so how far chance alone moves a figure is unknown")


def test_one_repeated_level_is_a_yardstick_for_both(three_seeds: list[Run]) -> None:
    (contrast,) = effect(three_seeds[:4], "head.dropout").contrasts
    assert contrast.noise == (pytest.approx(0.01), 2)
    assert contrast.levels[1].spread is None


def test_the_same_seed_twice_is_no_repetition(trained: Callable[..., Run]) -> None:
    runs = [trained(1, 0.0, 0, 0.5), trained(2, 0.0, 0, 0.52), trained(3, 0.5, 0, 0.6)]
    (contrast,) = effect(runs, "head.dropout").contrasts
    assert (contrast.levels[0].mean, contrast.levels[0].spread, len(contrast.levels[0].runs)) == (0.51, None, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"fit": "crop"}},
        {"validation": "w" * 64},
        {"dataset": "e" * 64},
        {"extra": ("900 outside photos",)},
    ],
)
def test_unlike_runs_are_never_mixed(trained: Callable[..., Run], change: dict[str, Any]) -> None:
    runs = [trained(1, 0.0, 0, 0.5), trained(2, 0.5, 0, 0.6, **change)]
    with pytest.raises(
        TrackingError, match=r"no two runs differ in head\.dropout alone \(left out: 2 without a partner"
    ):
        effect(runs, "head.dropout")
    both = [*runs, trained(3, 0.0, 0, 0.1, **change), trained(4, 0.5, 0, 0.5)]
    found = effect(both, "head.dropout")
    assert [contrast.letter for contrast in found.contrasts] == ["A", "B"]
    assert sorted(row[2] for row in found.rows()) == [0.1, 0.5, 0.5, 0.6]
    assert all(len(contrast.settings) == 1 for contrast in found.contrasts)


@pytest.mark.parametrize("change", [{"name": "x"}, {"about": "y"}, {"threads": 7}])
def test_what_decides_nothing_keeps_runs_together(trained: Callable[..., Run], change: dict[str, Any]) -> None:
    runs = [trained(1, 0.0, 0, 0.5), trained(2, 0.5, 0, 0.6, settings=change)]
    assert len(effect(runs, "head.dropout").contrasts) == 1


def test_other_ways_to_the_same_photos_stay_together(trained: Callable[..., Run], recipe: Recipe) -> None:
    own = recipe.split.model_copy(update={"seed": 0})
    runs = [trained(1, 0.0, 0, 0.5), trained(2, 0.5, 1, 0.6, settings={"split": own})]
    assert len(effect(runs, "head.dropout").contrasts) == 1


def test_excluded_runs_are_counted_and_not_used(three_seeds: list[Run], trained: Callable[..., Run]) -> None:
    copied = trained(99, 0.5, 7, 0.99, excluded="a copy of another row")
    found = effect([*three_seeds, copied], "head.dropout")
    assert found.rows() == effect(three_seeds, "head.dropout").rows()
    assert found.remarks == ("left out: 1 run marked as no training of its own",)


@pytest.fixture
def row(trained: Callable[..., Run]) -> Callable[..., Run]:
    """The n-th row of a log, with the settings that it names."""

    def make(n: int, dropout: float, *stated: str, photos: int = 90, **settings: Any) -> Run:
        figure = Figure(value=n / 10, low=0, high=1, n=photos)
        imported = Imported(source="log.csv", row=str(n), key=str(n), accuracy=figure, cells={}, stated=stated)
        run = trained(n, dropout, 0, 0.0, settings, validation=None, imported=imported)
        return run.model_copy(update={"evaluation": None, "bundle_hash": None})

    return make


def test_a_log_that_does_not_state_the_setting_is_left_out(row: Callable[..., Run]) -> None:
    found = effect([row(1, 0.0, "head.dropout"), row(2, 0.5, "head.dropout"), row(3, 0.2)], "head.dropout")
    assert [row[1:3] for row in found.rows()] == [("0.0", 0.1), ("0.5", 0.2)]
    assert found.remarks[0] == "left out: 1 whose log does not state head.dropout"
    assert found.remarks[1].startswith("A: rows of a log, which leaves ")
    assert found.remarks[1].endswith(
        " settings open (stage.0.trains among them); they may differ in those as well as in head.dropout"
    )
    assert len(found.remarks) == 2


def test_rows_of_a_log_have_seeds_of_their_own(row: Callable[..., Run]) -> None:
    """Our recipe's seed 0 stands in them all; it was not theirs."""
    runs = [row(n, 0.0 if n < 4 else 0.5, "head.dropout") for n in (2, 3, 5, 6)]
    (contrast,) = effect(runs, "head.dropout").contrasts
    assert [level.seeds for level in contrast.levels] == [2, 2]
    assert contrast.noise == (pytest.approx(0.0707, abs=1e-4), 2)
    assert "2 and 2 runs, no shared seeds" in contrast.sentences[0]
    stated = [row(n, 0.0 if n < 4 else 0.5, "head.dropout", "seed") for n in (2, 3, 5, 6)]
    (contrast,) = effect(stated, "head.dropout").contrasts
    assert [level.seeds for level in contrast.levels] == [1, 1]


def test_what_logs_leave_open_does_not_part_their_rows(row: Callable[..., Run]) -> None:
    runs = [row(1, 0.0, "head.dropout"), row(2, 0.5, "head.dropout", fit="crop")]
    assert len(effect(runs, "head.dropout").contrasts) == 1
    with pytest.raises(TrackingError, match="left out: 2 without a partner"):
        effect([runs[0], row(2, 0.5, "head.dropout", "fit", fit="crop")], "head.dropout")


def test_without_a_number_of_photos_there_is_no_interval(row: Callable[..., Run]) -> None:
    found = effect([row(n, n / 10, "head.dropout", photos=0) for n in (1, 2)], "head.dropout")
    assert found.rows()[1][6] == "unknown"
    assert "no interval" in found.contrasts[0].sentences[0]


# ---- a log's own columns -----------------------------------------------------------------------------------------


def logged(place: Path, *cells: dict[str, str]) -> tuple[Run, ...]:
    """Rows of a made log that differ in these cells alone."""
    return read_seed_log(write_log(place, [training(n) | own for n, own in enumerate(cells, start=1)])).runs


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("AUG_TYPE", "ImageDataGenerator", "albumantation"),
        ("AUG_RESCALE", "1.0", "0.00392156862745098"),
        ("C_LOSS_TYPE", "categorical_crossentropy", "focal"),
        (OPTIMIZER, "RMSprop", "Adagrad"),  # a setting of ours, but neither value is
    ],
)
def test_what_no_recipe_can_say_of_a_row_must_be_equal(tmp_path: Path, column: str, one: str, other: str) -> None:
    first, last = {column: one, "C_LR": "0.001"}, {column: other, "C_LR": "0.0001"}
    with pytest.raises(
        TrackingError, match=r"no two runs differ in stage\.0\.lr alone \(left out: 2 without a partner"
    ):
        effect(logged(tmp_path / "a", first, last), "C_LR")
    apart = logged(tmp_path / "b", first, last, first | {"C_LR": "0.0001"}, last | {"C_LR": "0.001"})
    found = effect(apart, "C_LR")
    assert found.axis == "stage.0.lr"
    assert len(found.contrasts) == 2
    assert differing_settings(*apart[:2]) == ["stage.0.lr", column.replace("\u0421", "C")]


def test_the_same_number_written_twice_is_one_value(tmp_path: Path) -> None:
    runs = logged(tmp_path, {"AUG_RESCALE": "1.0"}, {"AUG_RESCALE": "1", "C_LR": "0.001"})
    assert len(effect(runs, "stage.0.lr").contrasts) == 1


def test_a_log_s_column_says_nothing_against_a_run_of_ours(tmp_path: Path, three_seeds: list[Run]) -> None:
    (row,) = logged(tmp_path, {"AUG_TYPE": "albumantation"})
    assert "AUG_TYPE" not in differing_settings(row, three_seeds[0])


def test_networks_that_were_shown_nothing_are_left_out(tmp_path: Path) -> None:
    twice = {"AUG_RESCALE": "0.0039215686274509795"}
    rows = [twice, twice | {"M_BASE_TYPE": "EfficientNetB0"}, twice | {"M_BASE_TYPE": "EfficientNetB3"}]
    with pytest.raises(TrackingError, match=r"left out: 2 runs with a double 1/255: .*; left out: 1 without a partner"):
        effect(logged(tmp_path / "a", *rows), "backbone")
    once = [{}, {"M_BASE_TYPE": "EfficientNetB0"}]
    assert len(effect(logged(tmp_path / "b", *once), "M_BASE_TYPE").contrasts) == 1


def test_a_column_of_several_settings_or_of_none_is_named(tmp_path: Path) -> None:
    runs = logged(tmp_path, {})
    with pytest.raises(
        TrackingError, match=r"AUG_IMG_SIZE became 2 settings: stage\.0\.height, stage\.0\.width; give one"
    ):
        effect(runs, "AUG_IMG_SIZE")
    with pytest.raises(
        TrackingError, match="AUG_TYPE is no setting of a recipe, so runs that differ in it are only kept"
    ):
        effect(runs, "AUG_TYPE")


@pytest.mark.real
def test_the_seed_s_own_log_blames_no_backbone(shared: Path) -> None:
    runs = read_seed_log(shared / "seed_log").runs
    with pytest.raises(
        TrackingError, match=r"no two runs differ in backbone alone .*left out: 2 runs with a double 1/255"
    ):
        effect(runs, "backbone")
    found = effect(runs, "AUG_ROTATION_RANGE")
    assert found.axis == "stage.0.augment.rotation"
    told = [[run.imported.row for level in c.levels for run in level.runs if run.imported] for c in found.contrasts]
    assert told == [["1", "7"], ["21", "36"]]


# ---- differences ----------------------------------------------------------------------------------------------------

LABELS = np.arange(200) % 2


def answered(wrong: int, first: int = 0, last: int = 200) -> HeldOut:
    """Answers on the photos first..last, of which the first ones are wrong."""
    truth = LABELS[first:last]
    said = np.r_[1 - truth[:wrong], truth[wrong:]]
    return HeldOut(tuple(f"{i}.jpg" for i in range(first, last)), np.eye(2, dtype=np.float32)[said], truth)


def test_the_difference_is_paired_over_shared_seeds(three_seeds: list[Run], trained: Callable[..., Run]) -> None:
    """A fourth seed that only one value has would shift the difference."""
    lucky = trained(50, 0.5, 9, 0.9)
    runs = [*three_seeds, lucky]
    answers = {run.id: answered(40) for run in three_seeds[:3]} | {run.id: answered(20) for run in three_seeds[3:]}
    (contrast,) = effect(runs, "head.dropout", answers | {lucky.id: answered(0)}).contrasts
    # 0.5 has most runs, so it is what the other value is compared with.
    assert contrast.sentences[0].startswith("A: distinguishable: 0.0 minus 0.5 is -10.0 points [")
    assert "600 and 600 answers" in contrast.sentences[0]
    assert contrast.sentences[0].endswith("; 3 and 3 runs, 3 shared seeds")
    assert contrast.differences[0] is not None
    assert contrast.differences[0].high < 0


def test_without_a_shared_seed_all_runs_count(trained: Callable[..., Run]) -> None:
    runs = [trained(n, 0.5 * (n > 1), n, 0.5) for n in range(4)]
    answers = {run.id: answered(wrong) for run, wrong in zip(runs, (20, 22, 21, 21), strict=True)}
    (contrast,) = effect(runs, "head.dropout", answers).contrasts
    assert contrast.sentences[0].startswith("A: not distinguishable: 0.5 minus 0.0 is +0.0 points [")
    assert contrast.sentences[0].endswith("2 and 2 runs, no shared seeds")


def test_values_at_once_are_corrected_for(trained: Callable[..., Run]) -> None:
    runs = [trained(n, n / 10, 0, 0.5) for n in range(4)]
    answers = {run.id: answered(wrong) for run, wrong in zip(runs, (20, 14, 15, 19), strict=True)}
    alone = effect(runs[:2], "head.dropout", answers).contrasts[0].sentences[0]
    among = effect(runs, "head.dropout", answers).contrasts[0].sentences[0]
    assert alone.startswith("A: distinguishable: 0.1 is right on 6 photos more of 200")
    assert among.startswith("A: not distinguishable")
    assert "among 3 comparisons" in among


def test_folds_of_one_division_are_one_contrast(trained: Callable[..., Run], recipe: Recipe) -> None:
    def fold(n: int, dropout: float, number: int, accuracy: float) -> Run:
        parts = recipe.split.model_copy(update={"method": "folds", "fold": number})
        return trained(n, dropout, 0, accuracy, {"split": parts}, validation=f"{number}" * 64)

    # Fold 1 is easier; only 0.0 has fold 2, which says nothing about the setting.
    made = [(0.0, 0, 0.5), (0.0, 1, 0.7), (0.5, 0, 0.6), (0.5, 1, 0.8), (0.0, 2, 0.1)]
    runs = [fold(n, *one) for n, one in enumerate(made)]
    answers = {
        run.id: answered(wrong, first, first + 100)
        for run, wrong, first in zip(runs, (50, 30, 40, 20, 90), (0, 100, 0, 100, 100), strict=True)
    }
    found = effect(runs, "head.dropout", answers)
    (contrast,) = found.contrasts
    assert contrast.title == "200 validation photos in 2 folds, no outside photos"
    assert [level.mean for level in contrast.levels] == [pytest.approx(0.6), pytest.approx(0.7)]
    assert [level.spread for level in contrast.levels] == [None, None]  # folds are no repeated seeds
    assert "0.5 is right on 20 photos more of 200" in contrast.sentences[0]
    assert found.remarks == ("left out: 1 without a partner that differs in head.dropout alone",)


def test_folds_of_two_divisions_stay_apart(trained: Callable[..., Run], recipe: Recipe) -> None:
    """Near copies were grouped in another way meanwhile: the same settings, other folds."""

    def fold(n: int, dropout: float, number: int, blocks: int) -> Run:
        parts = recipe.split.model_copy(update={"method": "folds", "fold": number})
        said = f"fold {number} of 5, seed 0, stratified by class; near copies on one side ({blocks} blocks)"
        photos = f"{number}{blocks}".ljust(64, "0")
        return trained(n, dropout, 0, 0.5 + dropout / 10, {"split": parts}, validation=photos, split=said)

    pairs = [(dropout, number) for number in (0, 1) for dropout in (0.0, 0.5)]
    one = [fold(n, *pair, blocks=95) for n, pair in enumerate(pairs)]
    assert len(effect(one, "head.dropout").contrasts) == 1
    mixed = [*one[:2], *[fold(10 + n, *pair, blocks=90) for n, pair in enumerate(pairs[2:])]]
    first, second = effect(mixed, "head.dropout").contrasts
    assert first.settings["validation"] == "5 folds, seed 0, stratified by class; near copies on one side (95 blocks)"
    assert first.title.startswith("100 validation photos, set 09500000 (fold 0 of 5")
    assert "(90 blocks)" in str(second.settings["validation"])


def test_that_contrasts_are_not_corrected_for_one_another_is_said(trained: Callable[..., Run]) -> None:
    runs = [
        trained(10 * n + level, level / 2, 0, 0.5, validation=photos * 64)
        for n, photos in enumerate("vw")
        for level in (0, 1)
    ]
    answers = {run.id: answered(20) for run in runs}
    (remark,) = effect(runs, "head.dropout", answers).remarks
    assert remark.startswith("p is corrected for the values of one contrast, not for the 2 contrasts at once")
    assert effect(runs, "head.dropout").remarks == ()  # without answers there is no p
    assert effect(runs[:2], "head.dropout", answers).remarks == ()


def test_other_code_is_said(three_seeds: list[Run]) -> None:
    newer = three_seeds[0].model_copy(update={"code_version": "0.2.0"})
    (remark,) = effect([newer, *three_seeds[1:]], "head.dropout").remarks
    assert remark.startswith("A: trained by 2 versions of the code")


def test_values_stand_in_order(trained: Callable[..., Run], recipe: Recipe) -> None:
    runs = [trained(n, value, 0, 0.5) for n, value in enumerate((0.5, 0.1, 0.25))]
    assert [row[1] for row in effect(runs, "dropout").rows()] == ["0.1", "0.25", "0.5"]
    fits = [trained(n, 0.0, 0, 0.5, settings={"fit": fit}) for n, fit in enumerate(("stretch", "crop"))]
    assert [row[1] for row in effect(fits, "fit").rows()] == ["crop", "stretch"]


# ---- the axis -------------------------------------------------------------------------------------------------------


def test_an_ending_that_one_setting_has_is_enough(three_seeds: Sequence[Run]) -> None:
    assert find_axis(three_seeds, "dropout") == "head.dropout"
    assert find_axis(three_seeds, "seed") == "seed"  # also the end of split.seed, but a whole key itself


def test_an_ending_of_several_is_refused_with_all_of_them(three_seeds: Sequence[Run]) -> None:
    with pytest.raises(TrackingError, match=r"'lr' is the end of 2 settings: stage\.0\.lr, stage\.1\.lr; give one"):
        find_axis(three_seeds, "lr")


def test_an_unknown_axis_names_the_nearest(three_seeds: Sequence[Run]) -> None:
    with pytest.raises(TrackingError, match=r"no setting 'head\.dropuot' .* known are head\.dropout"):
        find_axis(three_seeds, "head.dropuot")
    with pytest.raises(TrackingError, match="no run has a figure yet"):
        find_axis([], "lr")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.5"), ("crop", "crop"), (None, "null"), (True, "true"), ([1, 2], "[1, 2]")]
)
def test_values_are_shown_as_settings_are_written(value: object, shown: str) -> None:
    assert show_value(value) == shown


# ---- the picture ----------------------------------------------------------------------------------------------------


def coloured(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    """Where the picture has exactly this colour: (N, 2) rows and columns."""
    with Image.open(path) as picture:
        return np.argwhere((np.asarray(picture.convert("RGB")) == colour).all(axis=2))


BLUE, VERMILLION = (0, 114, 178), (213, 94, 0)


def test_the_better_value_stands_higher(three_seeds: list[Run], tmp_path: Path) -> None:
    assert draw_effect(effect(three_seeds, "head.dropout"), tmp_path / "a.png") == ()
    marks = coloured(tmp_path / "a.png", BLUE)
    middle = np.median(marks[:, 1])
    left, right = (marks[side][:, 0].mean() for side in (marks[:, 1] < middle, marks[:, 1] > middle))
    assert right < left - 50  # rows count from the top


def test_a_difference_within_chance_does_not_fill_the_picture(trained: Callable[..., Run], tmp_path: Path) -> None:
    heights = []
    for noise in (0.001, 0.1):
        runs = [trained(n, dropout, 0, 0.5 + dropout / 50, noise=noise) for n, dropout in enumerate((0.0, 0.5))]
        draw_effect(effect(runs, "head.dropout"), tmp_path / "a.png")
        heights.append(np.ptp(coloured(tmp_path / "a.png", BLUE)[:, 0]))
    assert heights[1] < heights[0] / 4


def test_bars_stand_only_where_a_seed_was_repeated(three_seeds: list[Run], tmp_path: Path) -> None:
    draw_effect(effect(three_seeds, "head.dropout"), tmp_path / "a.png")
    draw_effect(effect([three_seeds[1], three_seeds[4]], "head.dropout"), tmp_path / "b.png")
    # A cap of an error bar is a run of pixels in one row; without bars only the marks at the ends are that high.
    heights = [np.ptp(coloured(tmp_path / name, BLUE)[:, 0]) for name in ("a.png", "b.png")]
    assert all(heights)
    assert len(coloured(tmp_path / "a.png", BLUE)) > len(coloured(tmp_path / "b.png", BLUE))


def test_contrasts_have_colours_of_their_own_until_they_run_out(trained: Callable[..., Run], tmp_path: Path) -> None:
    runs = [
        trained(100 * n + int(10 * dropout), dropout, 0, 0.5 + n / 100, dataset=f"{n:064x}")
        for n in range(9)
        for dropout in (0.0, 0.5)
    ]
    found = effect(runs, "head.dropout")
    assert draw_effect(found, tmp_path / "a.png") == ("2 contrasts with fewer runs are not drawn: colours for 7",)
    assert len(coloured(tmp_path / "a.png", BLUE)) > 50
    assert len(coloured(tmp_path / "a.png", VERMILLION)) > 50


def test_names_with_dollars_are_no_formulas(trained: Callable[..., Run], tmp_path: Path) -> None:
    runs = [
        trained(10 * n + i, 0.1, 0, 0.5, settings={"backbone": name, "weights": weights})
        for n, weights in enumerate(("$a_{$", "汽车"))
        for i, name in enumerate(("$x_{$", "b" * 100))
    ]
    draw_effect(effect(runs, "backbone"), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
