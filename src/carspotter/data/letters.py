"""Letters in a picture: a font that is there, and texts that it can show."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

Write = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Pen:
    """A font and what makes a text one that the font can show."""

    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    fit: Write


def find_pen(size: int = 13) -> Pen:
    """DejaVu Sans where matplotlib or the system brings it; it knows Cyrillic.

    Pillow's own font knows ASCII only (seen: `×` and every Cyrillic letter come out as boxes), so with it other
    letters are spelled.

    Args:
        size: height of a line, pixels.
    """
    for file in (_matplotlib_font(), "DejaVuSans.ttf"):
        try:
            return Pen(ImageFont.truetype(file, size), str)
        except OSError:
            continue
    return Pen(ImageFont.load_default(size), spelled)


def _matplotlib_font() -> str:
    """Where matplotlib, which is not imported, keeps the font."""
    found = importlib.util.find_spec("matplotlib")
    home = Path(found.origin).parent if found and found.origin else Path()
    return str(home / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


_LETTERS = "a,b,v,g,d,e,zh,z,i,y,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,,y,,e,yu,ya"
"""а … я, close to GOST 7.79-2000, system B."""


def spelled(text: str) -> str:
    """The text in ASCII: Cyrillic letters transliterated, accents dropped, anything else a question mark."""
    return "".join(_spell(letter) for letter in text)


def _spell(letter: str) -> str:
    low = letter.lower()
    if "а" <= low <= "я" or low == "ё":
        latin = "yo" if low == "ё" else _LETTERS.split(",")[ord(low) - ord("а")]
        return latin.capitalize() if letter != low else latin
    if letter == "×":
        return "x"
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or "?"
