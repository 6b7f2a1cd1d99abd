"""An explanation as one picture: the photo, the map over it, and like training photos of both classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from carspotter.data.contact_sheet import FORMATS
from carspotter.data.disk import whole_file
from carspotter.data.letters import Pen, find_pen
from carspotter.data.wording import brief
from carspotter.errors import SourceError
from carspotter.evaluation.explain import AGAINST, FOR, overlay, upsample
from carspotter.inference.explanation import HIDDEN, Explanation
from carspotter.inference.neighbours import Shown
from carspotter.records import Answer, Verdict

WIDTH, MARGIN, GAP = 1320, 20, 16
"""Pixels: two photos of 632 side by side, as much as a laptop shows."""
TITLE, TEXT, SMALL = 30, 18, 15
"""Heights of letters, pixels; legible when the picture is shown at half its size."""
LINE = 1.5
"""Height of a line, in heights of its letters."""
THUMB_RATIO = 3 / 4
"""Height of a neighbour's cell to its width; ads are 4:3."""
SHOWN = 0.005
"""A smaller part of a lead is 0.00 in print."""
PAPER, INK, FAINT = (255, 255, 255), (32, 32, 32), (110, 110, 110)


def check_picture(path: str | Path) -> None:
    """Pass when a picture of this name can be made; ask before the work.

    Raises:
        SourceError: another ending.
    """
    if Path(path).suffix.casefold() not in FORMATS:
        raise SourceError(f"cannot draw {brief(path)}: the ending must be .png, .jpg or .webp")


def draw_explanation(
    found: Explanation, classes: Sequence[str], rows: Sequence[Sequence[Shown]], path: str | Path, remark: str = ""
) -> None:
    """Write the picture, without metadata, whole or not at all.

    Args:
        found: what to show.
        classes: names by index.
        rows: nearest training photos of the answer and of the other class; empty for none.
        path: ends in .png, .jpg or .webp.
        remark: a line in place of neighbours.

    Raises:
        SourceError: the ending, or a place that cannot be written.
    """
    check_picture(path)
    named, against = brief(classes[found.named]), brief(classes[found.against])
    sheet = _Sheet()
    said = claim(found.answer, named)
    sheet.line(said[0].upper() + said[1:], TITLE)
    if found.answer.reason:
        sheet.line(f"Reason: {found.answer.reason}.", TEXT)
    sheet.line(f"Map: {compared(found, classes)}.", TEXT)
    sheet.line(f"It leads by {lead(found)}.", TEXT)
    sheet.pair(found.view, overlay(found.view, upsample(found.cells, *found.view.shape[:2])))
    sheet.legend(f"for {named}", f"for {against}")
    sheet.line(_check(found), TEXT)
    for name, colour, shown in zip((named, against), (FOR, AGAINST), rows, strict=False):
        sheet.line(f"Nearest training photos: {name}", TEXT, colour)
        sheet.photos(shown)
    if remark:
        sheet.line(remark, SMALL, FAINT)
    with whole_file(path) as part:
        sheet.image().save(part, FORMATS[Path(path).suffix.casefold()])


def claim(answer: Answer, likeliest: str) -> str:
    """The verdict in plain words; what it rests on is the answer's reason.

    Args:
        answer: of a photo that can be read.
        likeliest: the model that has the highest probability, named or not.
    """
    words = {
        Verdict.NAMED: f"it is a {likeliest}",
        Verdict.ONE_OF: f"one of {answer.claimed} models",
        Verdict.UNSURE: "not sure which model it is",
        Verdict.UNKNOWN: "no model that it knows",
        Verdict.NOT_A_CAR: "no photo of a car",
    }
    return words[answer.verdict]


def compared(found: Explanation, classes: Sequence[str]) -> str:
    """The two classes that the map is between; how sure the first is counts for nothing where none is claimed."""
    named, against = brief(classes[found.named]), brief(classes[found.against])
    sure = f" ({found.answer.top[0].probability:.0%})" if found.answer.top else ""
    if found.answer.verdict in (Verdict.UNKNOWN, Verdict.NOT_A_CAR):
        return f"if it had to be a model that it knows: {named}{sure}, rather than {against}"
    return f"{named}{sure}, rather than {against}"


def lead(found: Explanation) -> str:
    """How far the answer leads, and how far to believe what the photo gives of it."""
    source = "exact: the head is linear" if found.exact else "to first order: the head is not linear"
    tokens = f", tokens of no place {found.placeless:+.2f}" if abs(found.placeless) >= SHOWN else ""
    return f"{found.lead:.2f} in logits, of which the photo gives {found.seen:.2f}{tokens} ({source})"


def _check(found: Explanation) -> str:
    return (
        f"Check: with the hottest {HIDDEN:.0%} of the photo hidden it leads by {found.hottest_hidden:.2f}, "
        f"with {HIDDEN:.0%} hidden by chance by {found.drawn_hidden:.2f}."
    )


class _Sheet:
    """A page that grows downwards."""

    def __init__(self) -> None:
        self._strips: list[Image.Image] = []

    def image(self) -> Image.Image:
        height = 2 * MARGIN + sum(strip.height for strip in self._strips)
        page, y = Image.new("RGB", (WIDTH, height), PAPER), MARGIN
        for strip in self._strips:
            page.paste(strip, (MARGIN, y))
            y += strip.height
        return page

    def line(self, text: str, size: int, colour: tuple[int, int, int] = INK) -> None:
        draw, pen = self._strip(round(LINE * size)), find_pen(size)
        draw.text((0, 0), _shortened(pen.fit(text), pen, _inside()), colour, pen.font)

    def pair(self, left: np.ndarray, right: np.ndarray) -> None:
        width = (_inside() - GAP) // 2
        height = round(width * left.shape[0] / left.shape[1])
        self._strip(height + GAP // 2)
        for number, pixels in enumerate((left, right)):
            picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            self._strips[-1].paste(picture, (number * (width + GAP), 0))

    def legend(self, warm: str, cold: str) -> None:
        pen, height = find_pen(TEXT), round(LINE * TEXT)
        draw, half = self._strip(height + GAP // 2), (_inside() + GAP) // 2
        for x, colour, text in ((half, FOR, warm), (half + half // 2, AGAINST, cold)):
            draw.rectangle((x, 3, x + TEXT, 3 + TEXT), fill=colour)
            draw.text((x + 1.5 * TEXT, 0), _shortened(pen.fit(text), pen, half // 2 - 2 * TEXT), INK, pen.font)
        draw.text((0, 0), pen.fit("what the net sees"), FAINT, pen.font)

    def photos(self, shown: Sequence[Shown]) -> None:
        count = max(4, len(shown))
        width = (_inside() - (count - 1) * GAP) // count
        height, pen = round(width * THUMB_RATIO), find_pen(SMALL)
        draw = self._strip(height + round(LINE * SMALL) + GAP // 2)
        for number, one in enumerate(shown):
            x = number * (width + GAP)
            caption = f"{one.neighbour.distance:.2f}  {brief(one.neighbour.id)}"
            if one.pixels is None:
                draw.rectangle((x, 0, x + width - 1, height - 1), outline=FAINT)
                draw.text((x + 8, 8), _shortened(pen.fit(one.why), pen, width - 16), FAINT, pen.font)
            else:
                small = ImageOps.contain(Image.fromarray(one.pixels), (width, height))
                self._strips[-1].paste(small, (x + (width - small.width) // 2, (height - small.height) // 2))
            draw.text((x, height + 2), _shortened(pen.fit(caption), pen, width), FAINT, pen.font)

    def _strip(self, height: int) -> ImageDraw.ImageDraw:
        self._strips.append(Image.new("RGB", (_inside(), height), PAPER))
        return ImageDraw.Draw(self._strips[-1])


def _inside() -> int:
    return WIDTH - 2 * MARGIN


def _shortened(text: str, pen: Pen, width: int) -> str:
    """The text, its end cut where it is too wide; `brief` keeps it to 80 letters, so this is quick."""
    if pen.font.getlength(text) <= width:
        return text
    while text and pen.font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
