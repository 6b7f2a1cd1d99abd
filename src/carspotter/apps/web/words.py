"""The page's words in the reader's language."""

from __future__ import annotations

from collections.abc import Sequence

from carspotter.apps.web.texts import (
    CELLS,
    COLUMNS,
    KINDS,
    LANGUAGES,
    LISTINGS,
    REASONS,
    STANDINGS,
    TEXTS,
    VERBS,
    VERDICTS,
    Language,
)
from carspotter.errors import Reason, SourceError
from carspotter.records import Kind, Listed, ListingVerdict, Verb, Verdict


class Words:
    """The words of one language.

    Args:
        language: of the reader.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._at = 0 if language == "en" else 1

    def __call__(self, key: str, **values: object) -> str:
        """One text, with its values filled in."""
        return TEXTS[key][self._at].format(**values)

    def verdict(self, verdict: Verdict, labels: list[str]) -> str:
        """What an answer claims, in plain words."""
        return VERDICTS[verdict][self._at].format(label=labels[0] if labels else "?", labels=", ".join(labels))

    def reason(self, reason: Reason) -> str:
        """Why a photo cannot be used."""
        return REASONS[reason][self._at]

    def listing(self, verdict: ListingVerdict) -> str:
        """What the photos say of an ad."""
        return LISTINGS[verdict][self._at]

    def cell(self, verdict: ListingVerdict) -> str:
        """The same as a cell of a table."""
        return CELLS[verdict][self._at]

    def kind(self, kind: Kind) -> str:
        """What may be wrong with a photo."""
        return KINDS[kind][self._at]

    def verb(self, verb: Verb) -> str:
        """What was decided."""
        return VERBS[verb][self._at]

    def column(self, name: str) -> str:
        """The heading of one of our columns."""
        return COLUMNS[name][self._at] if name in COLUMNS else name

    def standing(self, said: str) -> str:
        """How a run stands beside the best one: its parts in words, its figures as they are."""
        known = dict(STANDINGS)
        parts = [known.get(part, part) if self._at else part for part in said.split(", ")]
        return ", ".join(parts)

    def evidence(self, found: Listed) -> list[str]:
        """What the photos of an ad show, a sentence each."""
        seen = found.evidence
        told = [self("shown", count=seen.photos, model=seen.likeliest, share=seen.share)] if seen.photos else []
        if seen.photos and found.probability is None:
            told.append(self("untaught"))
        kinds = (
            ("unlike", seen.unknown),
            ("no_car", seen.no_car),
            ("unusable", seen.unusable),
            ("left_out", len(seen.left_out)),
        )
        return told + [self(key, count=number) for key, number in kinds if number]


class Said(SourceError):
    """A fault that the page has words for.

    Args:
        key: of the text.
        details: sentences from elsewhere, which are there in English alone.
        values: that are filled in.
    """

    def __init__(self, key: str, details: Sequence[str] = (), **values: object) -> None:
        super().__init__((Words("en")(key, **values), *details))
        self.key = key
        self.values = values


def choose_language(asked: str | None, accepted: str | None) -> Language:
    """The language asked for, else the browser's first one that we speak, else English.

    Args:
        asked: `?lang=`.
        accepted: the header `Accept-Language`.
    """
    if asked in LANGUAGES:
        return "ru" if asked == "ru" else "en"
    for part in (accepted or "").split(","):
        tongue = part.split(";")[0].strip().casefold()[:2]
        if tongue in LANGUAGES:
            return "ru" if tongue == "ru" else "en"
    return "en"
