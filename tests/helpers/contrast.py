"""Contrast of what a page shows, as Chromium computes its colours, by the rules of WCAG 2.1."""

from __future__ import annotations

from typing import Any, NamedTuple

from playwright.sync_api import Page

TEXT, LARGE = 4.5, 3.0
"""Least contrast of text (WCAG 2.1, 1.4.3), and of large text, icons and marks of a chart (1.4.3 and 1.4.11)."""

Colour = tuple[float, float, float]
"""Red, green, blue of sRGB in 0..255."""

SHOWN = """
() => {
  for (const moving of document.getAnimations()) { try { moving.finish(); } catch { moving.cancel(); } }
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgba = colour => {  // whatever notation: oklch, color-mix, names
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below, share = 1) => below.map((c, i) => c + (top[i] - c) * share);
  const probe = document.documentElement.appendChild(document.createElement('div'));
  probe.style.backgroundColor = 'Canvas';  // what lies below a page that has no ground of its own
  const base = rgba(getComputedStyle(probe).backgroundColor).slice(0, 3);
  probe.remove();
  // The ground below an element and its ink, from the root inwards; a group's opacity thins out both.
  const seen = (chain, ink, ground) => {
    if (!chain.length) return [ground, over(ink, ground, ink[3])];
    const style = getComputedStyle(chain[0]), fill = rgba(style.backgroundColor), share = Number(style.opacity);
    return seen(chain.slice(1), ink, over(fill, ground, fill[3])).map(colour => over(colour, ground, share));
  };
  const found = [];
  const note = (element, ink, kind, said) => {
    const box = element.getBoundingClientRect();
    if (!element.checkVisibility({visibilityProperty: true, opacityProperty: true})) return;
    if (box.width < 2 || box.height < 2) return;
    if (element.closest('[disabled],[aria-disabled=true],.disabled')) return;  // exempt in 1.4.3
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(at);
    const pictured = chain.some(one => getComputedStyle(one).backgroundImage !== 'none');
    const [ground, shown] = seen(chain, ink, base);
    found.push({said: said.trim().slice(0, 60), kind, ink: shown, ground, pictured});
  };
  const kindOf = (element, style) => {
    if (element.closest('i.q-icon')) return 'mark';
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    return size >= 24 || (bold && size >= 18.66) ? 'large' : 'text';  // 18 and 14 points
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, said = walker.currentNode.textContent;
    if (!said.trim() || element.closest('script,style,noscript,title')) continue;
    const style = getComputedStyle(element);
    note(element, rgba(element instanceof SVGElement ? style.fill : style.color), kindOf(element, style), said);
  }
  for (const input of document.querySelectorAll('input,textarea')) {
    const style = getComputedStyle(input), faint = getComputedStyle(input, '::placeholder');
    if (input.value && input.type !== 'file') note(input, rgba(style.color), kindOf(input, style), input.value);
    else if (input.placeholder) note(input, rgba(faint.color), kindOf(input, style), input.placeholder);
  }
  for (const mark of document.querySelectorAll('svg[role=img] :is(polyline,circle,path)')) {
    const style = getComputedStyle(mark), ink = style.fill === 'none' ? style.stroke : style.fill;
    note(mark, rgba(ink), 'mark', mark.tagName);
  }
  return found;
}
"""


class Shown(NamedTuple):
    """Something that can be seen.

    Attributes:
        said: its text, or what kind of mark it is.
        kind: `text`, `large`, or `mark` for icons and the marks of charts.
        ink: its colour, as it appears.
        ground: what lies behind it.
        contrast: of the two, 1 to 21.
    """

    said: str
    kind: str
    ink: Colour
    ground: Colour
    contrast: float

    @property
    def enough(self) -> bool:
        return self.contrast >= (TEXT if self.kind == "text" else LARGE)


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2.1, 1 for equal colours, 21 for black on white."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: Colour) -> float:
    """Relative luminance of WCAG 2.1, 0 for black, 1 for white."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def everything_shown(page: Page, scheme: str) -> list[Shown]:
    """What a page shows in a colour scheme, `light` or `dark`; texts on pictures are an error."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found: list[dict[str, Any]] = page.evaluate(SHOWN)
    assert not [one["said"] for one in found if one["pictured"]]
    return [
        Shown(one["said"], one["kind"], tuple(one["ink"]), tuple(one["ground"]), contrast(one["ink"], one["ground"]))
        for one in found
    ]


def too_faint(page: Page, scheme: str, expected: int) -> list[Shown]:
    """What has too little contrast; at least `expected` things must be there to be measured."""
    shown = everything_shown(page, scheme)
    assert len(shown) >= expected, shown
    return [one for one in shown if not one.enough]
