"""An audit as one page to look at: no network, no script, thumbnails drawn anew without any metadata."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from types import MappingProxyType

from PIL import Image

from carspotter.data.photo import decode, read_bytes
from carspotter.data.wording import count, visible
from carspotter.errors import PhotoRefused
from carspotter.records import Finding, Kind, Photo

SHOWN = 60
"""Findings of a kind on the page; the table has all (assumption: a page of a few megabytes still opens on a phone)."""
THUMB = (240, 180)
"""Largest width and height of a thumbnail, pixels."""
QUALITY = 70
PAIRED = (Kind.LEAK, Kind.EXACT_DUPLICATE, Kind.NEAR_DUPLICATE)

TITLES = MappingProxyType(
    {
        Kind.LABEL_ERROR: "Labels that may be wrong",
        Kind.OUTLIER: "Strange photos",
        Kind.LEAK: "Copies across sets",
        Kind.EXACT_DUPLICATE: "The same bytes twice",
        Kind.NEAR_DUPLICATE: "Near copies",
        Kind.DARK: "Dark",
        Kind.BRIGHT: "Overexposed",
        Kind.BLURRY: "Blurry",
        Kind.TINY: "Tiny",
        Kind.ODD_ASPECT: "Of an odd shape",
        Kind.CLASS_OVERLAP: "Classes that overlap",
    }
)

_STYLE = """
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
"""


def audit_page(title: str, notes: Sequence[str], findings: Sequence[Finding], photos: Mapping[str, Photo]) -> str:
    """The page as HTML.

    Args:
        title: the source, as given.
        notes: how far to trust the findings.
        findings: only issues are shown, the first SHOWN of each kind.
        photos: by id, those of other sets that copies lie in too.
    """
    issues = {kind: list(some) for kind, some in groupby((f for f in findings if f.is_issue), key=lambda f: f.kind)}
    links = "".join(f'<a href="#{kind}">{TITLES[kind]}: {len(some):,}</a>' for kind, some in issues.items())
    said = "".join(f"<p>{_text(note)}</p>" for note in notes)
    parts = "".join(_section(kind, some, photos) for kind, some in issues.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>Audit of {_text(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Audit of {_text(title)}</h1>{said}<nav>{links or 'Nothing was found.'}</nav>{parts}</body></html>\n"
    )


def _section(kind: Kind, findings: Sequence[Finding], photos: Mapping[str, Photo]) -> str:
    more = f" The first {SHOWN} are shown." if len(findings) > SHOWN else ""
    head = f'<h2 id="{kind}">{TITLES[kind]}</h2><p>{count(len(findings), "finding")}, the surest first.{more}</p>'
    if kind is Kind.CLASS_OVERLAP:
        rows = "".join(f"<li>{_text(f.id)} and {_text(f.suggestion)}: {_text(f.why)}</li>" for f in findings[:SHOWN])
        return f"{head}<ul>{rows}</ul>"
    wide = " wide" if kind in PAIRED else ""
    return f'{head}<div class="grid{wide}">{"".join(_figure(f, photos) for f in findings[:SHOWN])}</div>'


def _figure(finding: Finding, photos: Mapping[str, Photo]) -> str:
    photo = photos.get(finding.id)
    label = "" if photo is None or photo.label is None else f"labelled <b>{_text(photo.label)}</b>"
    picture = _picture(photo)
    if finding.kind in PAIRED:
        picture = f'<div class="pair">{picture}{_picture(photos.get(finding.suggestion))}</div>'
    hint = f", perhaps <b>{_text(finding.suggestion)}</b>" if finding.kind is Kind.LABEL_ERROR else ""
    other = f" and {_text(finding.suggestion)}" if finding.kind in PAIRED else ""
    caption = (
        f"{_text(finding.id)}{other}<br>{label}{hint}<br><small>{_text(finding.why)} · {finding.score:.3f}</small>"
    )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _picture(photo: Photo | None) -> str:
    """A new JPEG of the pixels alone; what cannot be read any more is said instead."""
    if photo is None:
        return "<span>not in this source</span>"
    try:
        seen = decode(read_bytes(photo.where), at_least=THUMB[::-1])
    except PhotoRefused as fault:
        return f"<span>{_text(fault.reason)}</span>"
    small, out = Image.fromarray(seen.pixels), io.BytesIO()
    small.thumbnail(THUMB)
    small.save(out, "JPEG", quality=QUALITY)
    data = base64.b64encode(out.getvalue()).decode()
    size = f'width="{small.width}" height="{small.height}"'
    return f'<img {size} loading="lazy" alt="{_text(photo.id)}" src="data:image/jpeg;base64,{data}">'


def _text(text: object) -> str:
    return escape(visible(text))
