from __future__ import annotations

from collections.abc import Callable

from carspotter.records import Figure, Imported, Run
from carspotter.tracking.grounds import Ground, describe, sort_runs

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def models(make_run: Callable[..., Run], *changes: dict[str, object]) -> list[Run]:
    """Runs with ids and models of their own."""
    ids = [chr(ord("a") + n) * 32 for n in range(len(changes))]
    return [make_run(one, **{"bundle_hash": one} | change) for one, change in zip(ids, changes, strict=True)]


def test_photos_and_outside_photos_are_kept_apart(make_run: Callable[..., Run]) -> None:
    runs = models(make_run, {}, {"validation": "w" * 64}, {"extra": ("more",)}, {})
    found = sort_runs(runs)
    assert {ground: [run.id[0] for run in some] for ground, some in found.runs.items()} == {
        Ground("v" * 64, outside=False): ["a", "d"],
        Ground("w" * 64, outside=False): ["b"],
        Ground("v" * 64, outside=True): ["c"],
    }
    assert found.left_out == ()


def test_what_has_no_place_is_counted_by_reason(make_run: Callable[..., Run]) -> None:
    unfit = [
        {"excluded": "row 3 is a copy"},
        {"excluded": "row 4 is a copy"},
        {"status": "failed"},
        {"evaluation": None},
        {"validation": None},
    ]
    found = sort_runs(models(make_run, *unfit))
    assert found.runs == {}
    assert found.left_out == (
        "left out: 2 runs marked as no training of its own",
        "left out: 1 run failed",
        "left out: 1 run without an accuracy",
        "left out: 1 run without validation photos",
    )


def test_the_same_model_again_counts_once(make_run: Callable[..., Run]) -> None:
    again = make_run(A, started="2026-11-22T11:00:00+00:00")
    found = sort_runs([again, make_run(B)])
    assert [run.id for run in found.runs[Ground("v" * 64, outside=False)]] == [B]
    assert found.left_out == ("left out: 1 run that gave the same model as an earlier one, which is counted once",)


def test_rows_of_a_log_are_compared_within_the_log_and_its_split(make_run: Callable[..., Run]) -> None:
    imported = Imported(
        source="seed.csv", row="1", key="k", accuracy=Figure(value=0.5, low=0.4, high=0.6, n=90), cells={}
    )
    rows = {"validation": None, "imported": imported, "evaluation": None, "bundle_hash": None, "split": "0.15 validate"}
    runs = [make_run(A, **rows), make_run(B, **rows), make_run(C, **rows | {"split": "0.2 validate"})]
    found = sort_runs(runs).runs
    assert [len(some) for some in found.values()] == [2, 1]
    ground = next(iter(found))
    assert describe(ground, found[ground]) == "90 validation photos, seed.csv: 0.15 validate, no outside photos"


def test_a_ground_is_described(make_run: Callable[..., Run]) -> None:
    assert describe(Ground("v" * 64, outside=True), [make_run()]) == (
        "100 validation photos, set vvvvvvvv (hold-out, seed 0), with outside photos"
    )
