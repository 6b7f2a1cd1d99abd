"""Settings screened cheaply: pooled out-of-fold log loss and accuracy of each variant beside the first one's.

    python benchmarks/screen.py ../shared/data/contest VARIANTS.toml --fold 0,1 --seeds 1,2 --jobs 2 --minutes 40

VARIANTS.toml:

    recipe = "fast"                          # a name or a .toml path; a variant may name another one
    base = ["stage.1.epochs=4"]              # for all variants

    [variants]
    plain = []                               # the first is what the others are compared with
    mixup = ["stage.0.mixup=0.4", "stage.1.mixup=0.4"]
    outside = ["extra=../shared/data/external/labelled.zip"]
    cars = ["recipe=cars"]

`--jobs 2` trains two variants side by side with one thread each, which gives more trainings an hour than one after the
other; minutes are then of a training that shared the machine. Decoded photos and frozen features are kept in the
store's folder, so the first training of a size pays for them. Stopped at any moment, the same command goes on;
`--minutes 0` prints what there is. Many variants at once find luck too: p is also given after Holm's correction.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import Done, Ledger, Side, add_options, median, open_source, plan, read_side, train_all
from pooled import Pool, loss_difference, paired_accuracy, pool

from carspotter.errors import CarspotterError, RecipeError
from carspotter.evaluation.paired import holm, percent_points

RECIPE = "recipe="


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, store="runs/benchmarks/screen", folds=4)
    parser.add_argument("variants", type=Path)
    options = parser.parse_args()
    sides, source, ledger = read_variants(options.variants), open_source(options.source), Ledger(options.store)
    jobs = plan(sides, source, options)
    cache = ledger.folder / "cache"
    failed = train_all(jobs, ledger, minutes=options.minutes, side_by_side=options.jobs, cache=cache)
    print(f"\n{source.title}: {source.photos} photos, {options.folds} folds, {options.jobs} side by side")
    report(sides, ledger.done(jobs), ledger)
    return int(failed > 0)


def read_variants(path: Path) -> list[Side]:
    """Sides from a file of variants.

    Raises:
        RecipeError: the file is not what the top of this one shows, or a variant's recipe is wrong.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise RecipeError(f"cannot read {path}: {fault}") from None
    variants = told.get("variants")
    if (
        not isinstance(variants, dict)
        or unknown(told)
        or not all(map(are_settings, [told.get("base", []), *variants.values()]))
    ):
        raise RecipeError(
            f'{path}: expected recipe = "NAME", base = ["KEY=VALUE", …], and under [variants] lines NAME = [the same]'
        )
    return [variant(label, told, settings) for label, settings in variants.items()]


def unknown(told: dict[str, Any]) -> set[str]:
    return told.keys() - {"recipe", "base", "variants"}


def are_settings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def variant(label: str, told: dict[str, Any], own: Sequence[str]) -> Side:
    settings = [*told.get("base", []), *own]
    recipes = [told.get("recipe", "fast"), *(one.removeprefix(RECIPE) for one in settings if one.startswith(RECIPE))]
    return read_side(label, recipes[-1], [one for one in settings if not one.startswith(RECIPE)])


def report(sides: Sequence[Side], done: Sequence[Done], ledger: Ledger) -> None:
    """A row per variant; differences to the first on the photos that both answered, below 0 is a smaller loss."""
    if len({one.run.dataset for one in done}) > 1:
        raise SystemExit("the photos changed between trainings; take a new --store")
    trained = {side.label: [one for one in done if one.job.side.label == side.label] for side in sides}
    pools = {label: pool(ledger.answers(some)) for label, some in trained.items() if some}
    first = sides[0].label
    width = max(len(side.label) for side in sides)
    columns = "trainings  minutes  log loss  difference [95 %]          p     Holm  accuracy  difference [95 %]"
    print(f"{'':{width}}  {columns}")
    others = [label for label in pools if label != first and first in pools]
    losses = {
        label: loss_difference(pools[first], pools[label]) for label in others if meet(pools[first], pools[label])
    }
    corrected = dict(zip(losses, holm([p for _, p in losses.values()]), strict=True))
    for label, found in pools.items():
        minutes = median([one.seconds / 60 for one in trained[label]])
        row = f"{label:{width}}  {len(trained[label]):9}  {minutes:7.1f}  {found.log_loss.value:8.3f}"
        if label in losses:
            loss, p = losses[label]
            paired = paired_accuracy(pools[first], found)
            row += f"  {loss.value:+.3f} [{loss.low:+.3f}, {loss.high:+.3f}]  {p:6.3f}  {corrected[label]:6.3f}"
            row += f"  {found.accuracy.value:8.3f}  {percent_points(paired.difference)} on {paired.photos} photos"
        else:
            row += f"{'':43}  {found.accuracy.value:8.3f}"
        print(row)
    for label in trained.keys() - pools.keys():
        print(f"{label:{width}}  nothing finished")


def meet(a: Pool, b: Pool) -> bool:
    return bool(set(a.photos.tolist()) & set(b.photos.tolist()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CarspotterError as fault:
        sys.exit(str(fault))
