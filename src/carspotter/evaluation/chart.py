"""Small charts as SVG text: they live inside a page, follow its colours, and need no library."""

from __future__ import annotations

from collections.abc import Sequence

from carspotter.evaluation.page import text
from carspotter.evaluation.reliability import Bin

WIDTH, HEIGHT, EDGE = 400, 300, 44
"""Of the drawing, and the room for its numbers, in its own units."""
POINTS = 200
"""Points of a line. Assumption: more cannot be seen at this width."""

Point = tuple[float, float]


def reliability_chart(bins: Sequence[Bin]) -> str:
    """Accuracy against confidence, with the interval of every bin; the diagonal is perfect calibration."""
    marks = [_line([(0, 0), (1, 1)], "stroke-dasharray='4 4' opacity='.5'")]
    for one in bins:
        marks.append(_line([(one.confidence, one.accuracy.low), (one.confidence, one.accuracy.high)], "opacity='.6'"))
        x, y = _place((one.confidence, one.accuracy.value))
        marks.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='currentColor'/>")
    return _chart("Calibration: how often answers of a confidence are right", "confidence", "right", marks)


def risk_chart(coverage: Sequence[float], risk: Sequence[float]) -> str:
    """The share of wrong answers against the share of photos that are answered."""
    step = max(1, len(coverage) // POINTS)
    points = [*zip(coverage[::step], risk[::step], strict=True), (coverage[-1], risk[-1])]
    return _chart("Errors among the surest photos", "share answered", "wrong", [_line(points, "stroke-width='2'")])


def _chart(title: str, across: str, up: str, marks: Sequence[str]) -> str:
    ticks = "".join(_tick(number / 5) for number in range(6))
    frame = f"<rect x='{EDGE}' y='10' width='{WIDTH - EDGE - 10}' height='{HEIGHT - EDGE - 10}' fill='none'/>"
    turned = f"x='12' y='{HEIGHT / 2:.0f}' text-anchor='middle' transform='rotate(-90 12 {HEIGHT / 2:.0f})'"
    names = (
        f"<text x='{WIDTH / 2:.0f}' y='{HEIGHT - 6}' text-anchor='middle'>{text(across)}</text>"
        f"<text {turned}>{text(up)}</text>"
    )
    return (
        f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{text(title)}' font-size='12' "
        f"stroke='currentColor' fill='none'>{frame}{''.join(marks)}"
        f"<g stroke='none' fill='currentColor'>{ticks}{names}</g></svg>"
        f"<figcaption>{text(title)}</figcaption></figure>"
    )


def _tick(value: float) -> str:
    x, _ = _place((value, 0))
    _, y = _place((0, value))
    return (
        f"<text x='{x:.1f}' y='{HEIGHT - EDGE + 16}' text-anchor='middle'>{value:.1f}</text>"
        f"<text x='{EDGE - 6}' y='{y + 4:.1f}' text-anchor='end'>{value:.1f}</text>"
    )


def _line(points: Sequence[Point], style: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(_place, points))
    return f"<polyline points='{path}' {style}/>"


def _place(point: Point) -> Point:
    """From the unit square to the drawing."""
    x, y = point
    return EDGE + x * (WIDTH - EDGE - 10), HEIGHT - EDGE - y * (HEIGHT - EDGE - 10)
