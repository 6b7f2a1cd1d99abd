"""Recipes beside each other on the same folds with the same backbone: errors, minutes, and what sets them apart.

    python benchmarks/train_vs_seed.py ../shared/data/contest --also ../shared/data/hard_pairs/hard_pairs.zip
    python benchmarks/train_vs_seed.py SOURCE --recipes fast,cars --seeds 1,2,3 --minutes 60
    python benchmarks/train_vs_seed.py SOURCE --recipes fast,short=fast,outside=fast \
        --set short:stage.1.epochs=3 --set outside:extra=../shared/data/external/labelled.zip

Every training is a process of its own with an empty cache; sides alternate and their order turns round from fold to
fold. Stopped at any moment, the same command goes on; `--minutes 0` prints what there is. Nothing is exported: figures
are of the trained net itself on the photos held out, pooled over folds. The goal of issue 3 for `fast` beside `seed`:
half the errors in a third of the wall time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common import (
    Done,
    Ledger,
    Side,
    add_options,
    median,
    open_source,
    plan,
    read_side,
    spread,
    train_all,
)
from pooled import common, error_ratio, loss_difference, paired_accuracy, pool

from carspotter.errors import CarspotterError, RecipeError


def main() -> int:
    options = read_options()
    sides = read_sides(options)
    ledger = Ledger(options.store)
    plans = [plan(sides, open_source(path), options) for path in (options.source, *options.also)]
    jobs = [job for some in plans for job in some]
    failed = train_all(jobs, ledger, minutes=options.minutes, side_by_side=options.jobs, cache=None)
    for some in plans:
        done = ledger.done(some)
        print(f"\n{some[0].source.title}: {some[0].source.photos} photos, {options.folds} folds, seeds {options.seeds}")
        report(sides, done, ledger)
    return int(failed > 0)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, store="runs/benchmarks/train_vs_seed", folds=4)
    parser.add_argument("--recipes", default="seed,fast", help="names or .toml paths, or LABEL=RECIPE")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for all, LABEL:KEY=VALUE for one side")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="of every side")
    parser.add_argument("--also", type=Path, action="append", default=[], help="another source, in a table of its own")
    return parser.parse_args()


def read_sides(options: argparse.Namespace) -> list[Side]:
    pairs = [word.rpartition("=") for word in options.recipes.split(",")]
    recipes = {label or Path(recipe).stem: recipe for label, _, recipe in pairs}
    if len(recipes) < len(pairs):
        raise RecipeError(f"two sides of {options.recipes} have one label; write LABEL=RECIPE")
    mine = {label: [f"backbone={options.backbone}"] for label in recipes}
    for setting in options.set:
        label, _, rest = setting.partition(":")
        if label in mine:
            mine[label].append(rest)
        else:
            for settings in mine.values():
                settings.append(setting)
    return [read_side(label, recipe, mine[label]) for label, recipe in recipes.items()]


def report(sides: Sequence[Side], done: Sequence[Done], ledger: Ledger) -> None:
    """A row per side, then each side beside the first."""
    if not done:
        return print("nothing is trained yet")
    if len(versions := {one.run.code_version for one in done}) > 1:
        print(f"trained by several versions of the code: {', '.join(sorted(versions))}")
    if len({one.run.dataset for one in done}) > 1:
        raise SystemExit("the photos changed between trainings; take a new --store")
    trained = {side.label: [one for one in done if one.job.side.label == side.label] for side in sides}
    pools = {label: pool(ledger.answers(some)) for label, some in trained.items() if some}
    width = max(len(side.label) for side in sides)
    print(
        f"{'':{width}}  {'accuracy':37} errors  log loss  trainings  minutes each, min / median / max   CPU min    GB"
    )
    for label, found in pools.items():
        costs = trained[label]
        minutes, cpu = spread(one.seconds / 60 for one in costs), median([one.cpu / 60 for one in costs])
        peak = max(one.peak for one in costs) / 1e9
        print(
            f"{label:{width}}  {found.accuracy!s:37} {found.wrong.sum():6.1f}  {found.log_loss.value:8.3f}"
            f"  {len(costs):9}  {minutes:>33}  {cpu:8.1f}  {peak:4.1f}"
        )
    first, *others = [side.label for side in sides if side.label in pools]
    for label in others:
        beside(first, label, trained, pools)
    return None


def beside(first: str, label: str, trained: dict[str, list[Done]], pools: dict) -> None:
    a, b = pools[first], pools[label]
    try:
        shared, _ = common(a, b)
    except ValueError as fault:
        return print(f"{label} / {first}: {fault} yet")
    ratio, low, high = error_ratio(a, b)
    loss, p = loss_difference(a, b)
    print(f"\n{label} / {first}, on the {len(shared.ids)} photos that both answered")
    print(f"  errors    {ratio:.2f} times [{low:.2f}, {high:.2f}]")
    for what, cost in (("wall time", lambda one: one.seconds), ("CPU time ", lambda one: one.cpu)):
        ratios = [cost(y) / cost(x) for x in trained[first] for y in trained[label] if same_place(x, y)]
        print(f"  {what} {spread(ratios, '{:.2f}'.format)} times, min / median / max of {len(ratios)} folds")
    print(f"  {paired_accuracy(a, b).sentence(first, label)}")
    print(f"  log loss of {label} minus {first}: {loss.value:+.3f} [{loss.low:+.3f}, {loss.high:+.3f}], p {p:.3f}")
    return None


def same_place(x: Done, y: Done) -> bool:
    return (x.run.recipe.split.fold, x.run.recipe.seed) == (y.run.recipe.split.fold, y.run.recipe.seed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CarspotterError as fault:
        sys.exit(str(fault))
