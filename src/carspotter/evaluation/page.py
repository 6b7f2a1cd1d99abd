"""What every page we write has in common: one file, no network, no script; pictures drawn anew without metadata."""

from __future__ import annotations

import base64
import io
from html import escape

from PIL import Image

from carspotter.data.photo import decode, read_bytes
from carspotter.data.wording import visible
from carspotter.errors import PhotoRefused
from carspotter.records import Photo, Pixels

THUMB = (240, 180)
"""Largest width and height of a thumbnail, pixels."""
QUALITY = 70

STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.4 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1rem}
h2{margin:2rem 0 .5rem;border-top:1px solid #8886;padding-top:1rem}
nav a{display:inline-block;margin:0 .9rem .4rem 0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:1rem}
.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr))}
figure{margin:0;padding:.5rem;border:1px solid #8884;border-radius:.5rem;overflow-wrap:anywhere}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.3rem}
img{width:100%;height:auto;border-radius:.25rem;display:block;background:#8883}
figcaption{font-size:.85rem;margin-top:.4rem}
small{opacity:.75}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
@media (max-width:40rem){th,td{white-space:normal;padding:.2rem .4rem}}
svg{max-width:26rem;width:100%;height:auto}
"""


def page(title: str, body: str) -> str:
    """A whole HTML document that asks the network for nothing.

    Args:
        title: plain text.
        body: HTML.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><h1>{text(title)}</h1>{body}</body></html>\n"
    )


def text(plain: object) -> str:
    """Anything as HTML text, whatever it holds."""
    return escape(visible(plain))


def thumbnail(photo: Photo | None) -> str:
    """A new JPEG of the pixels alone; what cannot be read (any more) is said instead."""
    if photo is None:
        return "<span>not in this source</span>"
    try:
        seen = decode(read_bytes(photo.where), at_least=THUMB[::-1])
    except PhotoRefused as fault:
        return f"<span>{text(fault.reason)}</span>"
    width, height = fitted(seen.pixels, THUMB)
    size, source = f'width="{width}" height="{height}"', data_url(small_jpeg(seen.pixels))
    return f'<img {size} loading="lazy" alt="{text(photo.id)}" src="{source}">'


def fitted(pixels: Pixels, most: tuple[int, int]) -> tuple[int, int]:
    """Width and height within `most`, with the aspect ratio of (H, W, 3) pixels; never larger than these."""
    height, width = pixels.shape[:2]
    scale = min(1.0, most[0] / width, most[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def small_jpeg(pixels: Pixels, most: tuple[int, int] = THUMB) -> bytes:
    """A new JPEG of the pixels alone, at most so wide and high."""
    out = io.BytesIO()
    Image.fromarray(pixels).resize(fitted(pixels, most), Image.Resampling.BICUBIC).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def data_url(jpeg: bytes) -> str:
    """A picture as part of a page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
