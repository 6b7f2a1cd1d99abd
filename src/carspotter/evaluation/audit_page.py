"""An audit as one page to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from carspotter.data.wording import count
from carspotter.evaluation.page import page, text, thumbnail
from carspotter.records import Finding, Kind, Photo

Photos = Mapping[tuple[str, str], Photo]
"""(set, id) → photo; the audited set is called "". Two sets may well have photos of one id."""

SHOWN = 60
"""Findings of a kind on the page; the table has all (assumption: a page of a few megabytes still opens on a phone)."""

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


def audit_page(title: str, notes: Sequence[str], findings: Sequence[Finding], photos: Photos) -> str:
    """The page as HTML.

    Args:
        title: the source, as given.
        notes: how far to trust the findings.
        findings: only issues are shown, the first SHOWN of each kind.
        photos: those of other sets that copies lie in too.
    """
    issues = {kind: list(some) for kind, some in groupby((f for f in findings if f.is_issue), key=lambda f: f.kind)}
    links = "".join(f'<a href="#{kind}">{TITLES[kind]}: {len(some):,}</a>' for kind, some in issues.items())
    said = "".join(f"<p>{text(note)}</p>" for note in notes)
    parts = "".join(_section(kind, some, photos) for kind, some in issues.items())
    return page(f"Audit of {title}", f"{said}<nav>{links or 'Nothing was found.'}</nav>{parts}")


def _section(kind: Kind, findings: Sequence[Finding], photos: Photos) -> str:
    more = f" The first {SHOWN} are shown." if len(findings) > SHOWN else ""
    head = f'<h2 id="{kind}">{TITLES[kind]}</h2><p>{count(len(findings), "finding")}, the surest first.{more}</p>'
    if kind is Kind.CLASS_OVERLAP:
        rows = "".join(f"<li>{text(f.id)} and {text(f.suggestion)}: {text(f.why)}</li>" for f in findings[:SHOWN])
        return f"{head}<ul>{rows}</ul>"
    wide = " wide" if kind.is_paired else ""
    return f'{head}<div class="grid{wide}">{"".join(_figure(f, photos) for f in findings[:SHOWN])}</div>'


def _figure(finding: Finding, photos: Photos) -> str:
    photo = photos.get(("", finding.id))
    label = "" if photo is None or photo.label is None else f"labelled <b>{text(photo.label)}</b>"
    picture = thumbnail(photo)
    if finding.kind.is_paired:
        picture = f'<div class="pair">{picture}{thumbnail(photos.get((finding.within, finding.suggestion)))}</div>'
    hint = f", perhaps <b>{text(finding.suggestion)}</b>" if finding.kind is Kind.LABEL_ERROR else ""
    other = f" and {text(finding.suggestion)}" if finding.kind.is_paired else ""
    caption = f"{text(finding.id)}{other}<br>{label}{hint}<br><small>{text(finding.why)} · {finding.score:.3f}</small>"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
