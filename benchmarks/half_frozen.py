"""The half-frozen stage from activations computed once, beside the plain way that runs the frozen half each time.

    python benchmarks/half_frozen.py ../shared/data/contest [--epochs 12] [--views 8] [--seeds 1,2,3]

The first two stages of `seed` on Lite0: a head, then everything from blocks.4 (block5a) up. Both sides train the same
photos for the same number of epochs, alternated, each in a process of its own with an empty cache. An epoch counts with
its validation. Goal of issue 3: 3 times the epochs per minute, accuracy the same within noise. The cached side sees
`--views` different views of each photo again and again, the plain one a new view in every epoch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from common import Done, Ledger, Side, add_options, median, open_source, plan, read_side, spread, train_all
from pooled import loss_difference, paired_accuracy, pool

from carspotter.errors import CarspotterError

PLAIN, CACHED = "plain", "cached"
STAGE = 1
GOAL = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, store="runs/benchmarks/half_frozen", folds=4)
    parser.set_defaults(seeds="1,2,3", fold="0")
    parser.add_argument("--recipe", default="seed", help=f"its stage {STAGE} is compared, later ones are left out")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for both sides")
    options = parser.parse_args()
    sides, ledger = read_sides(options), Ledger(options.store)
    jobs = plan(sides, open_source(options.source), options)
    failed = train_all(jobs, ledger, minutes=options.minutes, side_by_side=options.jobs, cache=None)
    done = ledger.done(jobs)
    plain, cached = ([one for one in done if one.job.side.label == label] for label in (PLAIN, CACHED))
    if plain and cached:
        report(plain, cached, ledger)
    return int(failed > 0)


def read_sides(options: argparse.Namespace) -> list[Side]:
    stages = len(read_side("all", options.recipe, options.set).recipe.stage)
    fixed = [f"stage.{number}.epochs=0" for number in range(STAGE + 1, stages)]
    fixed += [f"stage.{STAGE}.epochs={options.epochs}", f"stage.{STAGE}.early_stop=0", f"stage.{STAGE}.keep=last"]
    views = {PLAIN: 0, CACHED: options.views}
    return [
        read_side(label, options.recipe, [*fixed, *options.set, f"stage.{STAGE}.views={count}"])
        for label, count in views.items()
    ]


def report(plain: Sequence[Done], cached: Sequence[Done], ledger: Ledger) -> None:
    stage = cached[0].run.recipe.stage[STAGE]
    print(f"\n{stage.width}x{stage.height}, batch {stage.batch}, from {stage.trains}, {stage.epochs} epochs")
    print("epochs a minute, min / median / max     the epochs alone         with computing views once")
    alone, whole = ([[rate(one) for one in side] for side in (plain, cached)] for rate in (epochs_alone, epochs_whole))
    for number, side in enumerate((plain, cached)):
        label = f"{side[0].job.side.label}, {len(side)} trainings"
        print(f"  {label:36}  {spread(alone[number]):23}  {spread(whole[number])}")
    for what, (ours, theirs) in (("epochs alone", alone), ("with views", whole)):
        ratio = median(theirs) / median(ours)
        reached = "reached" if ratio >= GOAL else "missed"
        print(f"cached / plain, {what}: {ratio:.2f} times; goal {GOAL:.0f}: {reached}")
    once = [one.run.timings[f"stage {stage.name}"] - sum(seconds(one)) for one in cached]
    print(f"views once: {spread(once)} s for {stage.views} views")
    print(f"disk: {cached[0].features / 1e6:.0f} MB with the held-out photos and the first stage's vectors")
    print(f"pays from epoch {breaks_even(plain, cached, median(once)):.1f} on")
    a, b = pool(ledger.answers(plain)), pool(ledger.answers(cached))
    for label, found in ((PLAIN, a), (CACHED, b)):
        print(f"{label:7} accuracy {found.accuracy}, log loss {found.log_loss.value:.3f}")
    print(paired_accuracy(a, b).sentence(PLAIN, CACHED))
    loss, p = loss_difference(a, b)
    print(f"log loss of {CACHED} minus {PLAIN}: {loss.value:+.3f} [{loss.low:+.3f}, {loss.high:+.3f}], p {p:.3f}")


def seconds(one: Done) -> list[float]:
    name = one.run.recipe.stage[STAGE].name
    return [record.seconds for record in one.run.history if record.stage == name]


def epochs_alone(one: Done) -> float:
    return 60 / median(seconds(one))


def epochs_whole(one: Done) -> float:
    stage = one.run.recipe.stage[STAGE]
    return 60 * len(seconds(one)) / one.run.timings[f"stage {stage.name}"]


def breaks_even(plain: Sequence[Done], cached: Sequence[Done], once: float) -> float:
    """Epochs after which the views have paid for themselves."""
    saved = median([median(seconds(one)) for one in plain]) - median([median(seconds(one)) for one in cached])
    return once / saved if saved > 0 else float("inf")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CarspotterError as fault:
        sys.exit(str(fault))
