"""Whether one side is better than another beyond chance, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from carspotter.evaluation.paired import ALPHA, Paired, holm
from carspotter.records import Figure, Run
from carspotter.tracking.sides import SHORT, Match, Side, match

UNKNOWN_SEEDS = "This speaks for other photos with these trainings; how far seeds move either figure is not known."
ONE_TRAINING = "This is one training each; another seed moves either figure."
FOLDS = (
    "Folds are pooled, no photo was answered twice ({} and {} trainings); how far another seed moves either figure is "
    "not known."
)
THESE_TRAININGS = (
    "This speaks for other photos with these trainings; how far seeds move the figure stands in the table."
)
RAISED = (
    "p is raised for {} comparisons at once (Holm), and the verdicts follow it; each interval is for its pair alone."
)
ALONE = "The intervals are for one comparison alone, not for {}."


def verdicts(first: Side, others: Sequence[Side]) -> tuple[str, ...]:
    """Of each other side against the first: by the paired test where both kept their answers, else by the intervals.

    Returns:
        A sentence or two for each, and one on what many comparisons at once do.
    """
    matches = [match(first, other) if first.answers and other.answers else None for other in others]
    raised = iter(holm([found.paired.p for found in matches if found and found.paired]))
    tests = sum(1 for found in matches if found and found.paired)
    said = [
        _paired(first, other, found, tests, next(raised) if found.paired else 1.0) if found else _unpaired(first, other)
        for other, found in zip(others, matches, strict=True)
    ]
    if tests > 1:
        said.append(RAISED.format(tests))
    if len(others) > max(1, tests):
        said.append(ALONE.format(len(others)))
    return tuple(said)


def _paired(a: Side, b: Side, found: Match, tests: int, raised: float) -> str:
    lead = f"{a.title} / {b.title}"
    if found.paired is None:
        return f"{lead}: {found.remark}: no verdict."
    sentence = found.paired.sentence(*_names(a, b), tests=tests, raised=raised)
    return " ".join(filter(None, (f"{lead}: {sentence}.", found.remark, _seeds(a, b, found.paired, raised))))


def _seeds(a: Side, b: Side, paired: Paired, raised: float) -> str:
    """What the verdict says of other seeds; empty where it claims nothing."""
    if paired.several:
        return THESE_TRAININGS if a.repeated or b.repeated else UNKNOWN_SEEDS
    if a.folds or b.folds:
        return FOLDS.format(len(a.runs), len(b.runs))
    return ONE_TRAINING if raised < ALPHA else ""


def show_figure(figure: Figure | float) -> str:
    """A figure as tables have it, with its interval where it has one."""
    if isinstance(figure, float):
        return f"{figure:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _names(a: Side, b: Side) -> tuple[str, str]:
    """What to call the sides within a sentence: their recipes where that tells them apart."""
    first, second = a.runs[0], b.runs[0]
    return (first.name, second.name) if first.name != second.name else (first.id[:SHORT], second.id[:SHORT])


def _unpaired(a: Side, b: Side) -> str:
    lead = f"{a.title} / {b.title}"
    if len(a.runs) == len(b.runs) == 1:
        return _by_intervals(lead, a.runs[0], b.runs[0])
    lacking = [run.id[:SHORT] for side in (a, b) if not side.answers for run in side.runs]
    return f"{lead}: no verdict, because not every run kept its held-out answers (among {', '.join(lacking)})."


def _by_intervals(lead: str, a: Run, b: Run) -> str:
    """Whether the accuracy intervals overlap, and no more than that says."""
    x, y = a.accuracy, b.accuracy
    if x is None or y is None:
        return f"{lead}: at least one has no result."
    overlap = x.low <= y.high and y.low <= x.high
    shown = f"{lead}: accuracy {show_figure(x)} and {show_figure(y)}, 95 % intervals"
    if a.validation is None or b.validation is None:
        return f"{shown}, not known to be on the same photos: no verdict."
    if a.validation != b.validation:
        return f"{shown} on different photos: no verdict."
    if overlap:
        return (
            f"{shown} overlap: these {x.n} photos do not show which is better. Both answered the same photos, so a "
            "paired test could see a smaller difference than the intervals do; it needs the answers, and not both kept "
            "them."
        )
    better = b if y.value > x.value else a
    return (
        f"{shown} do not overlap: on photos like these {x.n}, {better.name} {better.id[:SHORT]} is better beyond "
        f"chance. {ONE_TRAINING}"
    )
