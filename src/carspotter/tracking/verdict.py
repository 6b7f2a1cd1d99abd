"""Whether one side is better than another beyond chance, in a sentence."""

from __future__ import annotations

from carspotter.records import Figure, Run
from carspotter.tracking.sides import SHORT, Side, match

ONE_TRAINING = "This is one training each; another seed moves either figure."
THESE_TRAININGS = (
    "This speaks for other photos with these trainings; how far seeds move the figure stands in the table."
)


def verdict(a: Side, b: Side) -> str:
    """By the paired test where both kept their answers, else by what the intervals allow."""
    lead = f"{a.title} / {b.title}"
    if not (a.answers and b.answers):
        return _unpaired(lead, a, b)
    found = match(a, b)
    if found.paired is None:
        return f"{lead}: {found.remark}: no verdict."
    sentences = [f"{lead}: {found.paired.sentence(*_names(a, b))}.", found.remark]
    if found.paired.several:
        sentences.append(THESE_TRAININGS)
    elif found.paired.distinguishable:
        sentences.append(ONE_TRAINING)
    return " ".join(filter(None, sentences))


def show_figure(figure: Figure | float) -> str:
    """A figure as tables have it, with its interval where it has one."""
    if isinstance(figure, float):
        return f"{figure:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _names(a: Side, b: Side) -> tuple[str, str]:
    """What to call the sides within a sentence: their recipes where that tells them apart."""
    first, second = a.runs[0], b.runs[0]
    return (first.name, second.name) if first.name != second.name else (first.id[:SHORT], second.id[:SHORT])


def _unpaired(lead: str, a: Side, b: Side) -> str:
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
    if a.validation is None or a.validation != b.validation:
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
