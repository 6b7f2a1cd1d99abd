"""What a network has seen before a training: of every photo, what tells exact and near copies of it.

`seen.txt` of an own backbone names its format in the first line; each other line is a photo: its sha256 and, parted by
blanks, both perceptual hashes (hex) and the small grey picture (base64) that `data/duplicates.py` compares. The first
format had no such line and digests alone; it is still read, and then only exact copies can be told.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carspotter.data.alike import THUMB
from carspotter.data.disk import read_capped
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import PhotoFacts
from carspotter.data.wording import brief
from carspotter.errors import BackboneError, SourceError
from carspotter.records import BackboneCard
from carspotter.training.kept import SEEN, kept_folder

HEADER = "carspotter seen 2"
_DIGEST, _HASH = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{16}")
MAX_PICTURES = 100_000
"""Photos whose pictures are kept, 3.2 kB each; of any more the digest alone. Assumption: what two cores pretrain on is
fewer, and 320 MB are still no burden beside a backbone."""
MAX_BYTES = 2**30
"""The pictures, and the digests of eleven million photos more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Photos that trained a network.

    Attributes:
        digests: sha256 of all of them.
        facts: of those whose near copies can be told; only digest, hashes and picture are true.
    """

    digests: frozenset[str] = frozenset()
    facts: tuple[PhotoFacts, ...] = ()

    @classmethod
    def of(cls, facts: Iterable[PhotoFacts]) -> Seen:
        """What a scan found."""
        distinct = {fact.digest: fact for fact in facts}
        return cls(frozenset(distinct), tuple(distinct[digest] for digest in sorted(distinct)))

    def and_also(self, other: Seen) -> Seen:
        """Both."""
        both = Seen.of((*other.facts, *self.facts))
        return Seen(self.digests | other.digests, both.facts)

    def copies(self, photos: Sequence[PhotoFacts]) -> tuple[int, int]:
        """How many of these photos are exact copies of one seen, and how many others near copies."""
        exact = sum(fact.digest in self.digests for fact in photos)
        groups = near_duplicates((*self.facts, *photos)).tolist()
        known = set(groups[: len(self.facts)])
        alike = zip(photos, groups[len(self.facts) :], strict=True)
        return exact, sum(group in known and fact.digest not in self.digests for fact, group in alike)


def seen_by(card: BackboneCard, held_out: Sequence[PhotoFacts]) -> tuple[str, ...]:
    """What a training must tell of the weights that it begins with.

    Args:
        card: of its backbone. Packaged and published networks are told by their card alone.
        held_out: photos that validate.

    Raises:
        BackboneError: what an own backbone has seen cannot be read.
    """
    told = {"file": _file, "own": _own}.get(card.source)
    return () if told is None else (told(card, held_out),)


def _file(card: BackboneCard, held_out: Sequence[PhotoFacts]) -> str:
    weights = f"weights {brief(Path(card.origin).name)} (sha256 {(card.sha256 or '')[:12]})"
    unknown = "what they were trained on is not known"
    return f"{weights}: {unknown}, any of the {len(held_out)} held-out photos may be among it"


def _own(card: BackboneCard, held_out: Sequence[PhotoFacts]) -> str:
    seen = seen_photos(card)
    exact, near = seen.copies(held_out)
    sentence = (
        f"backbone {card.known_as}: {card.origin}; {exact} of the {len(held_out)} held-out photos are exact copies of "
        "what it has seen"
    )
    if not seen.facts:
        return f"{sentence}; near copies cannot be told: an older version kept digests alone"
    blind = len(seen.digests) - len(seen.facts)
    among = f" (looked for among {len(seen.facts):,} of {len(seen.digests):,})" if blind else ""
    return f"{sentence}, {near} more near copies{among}"


def seen_photos(card: BackboneCard) -> Seen:
    """What trained an own backbone.

    Raises:
        BackboneError: the list is gone, damaged, or of a newer version.
    """
    try:
        return _parse(read_capped(kept_folder() / card.known_as / SEEN, MAX_BYTES).decode("ascii").splitlines())
    except (SourceError, ValueError) as fault:
        raise BackboneError(
            f"cannot tell what {card.known_as} has seen ({fault}); make it again with `carspotter pretrain`"
        ) from None


def write_seen(path: Path, seen: Seen) -> None:
    """Write the list.

    Raises:
        OSError: the disk refuses.
    """
    pictured = {fact.digest: fact for fact in seen.facts[:MAX_PICTURES]}
    lines = [_line(pictured[digest]) if digest in pictured else digest for digest in sorted(seen.digests)]
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="ascii")


def _line(fact: PhotoFacts) -> str:
    return f"{fact.digest} {fact.hash:016x} {fact.mirror_hash:016x} {b64encode(fact.thumb).decode()}"


def _parse(lines: Sequence[str]) -> Seen:
    """Raises ValueError for anything but what `write_seen` of this version or the first one wrote."""
    first = lines[0] if lines else ""
    if first.startswith("carspotter seen") and first != HEADER:
        raise ValueError(f"{brief(first)!r}: a newer version wrote it, update carspotter")
    photos = [line.split(" ") for line in (lines[1:] if first == HEADER else lines) if line]
    seen = Seen.of(_fact(words) for words in photos if len(words) > 1)
    return Seen(seen.digests | {words[0] for words in photos}, seen.facts)


def _fact(words: Sequence[str]) -> PhotoFacts:
    # Exactly as it was written: `int` would also take signs, spaces and numbers that fit into no hash.
    sound = len(words) == 4 and _DIGEST.fullmatch(words[0]) and all(_HASH.fullmatch(word) for word in words[1:3])
    thumb = _decoded(words[3]) if sound else b""
    if len(thumb) != THUMB * THUMB:
        raise ValueError(f"the line of {brief(words[0])} is damaged")
    return PhotoFacts(words[0], words[0], 0, 0, "", int(words[1], 16), int(words[2], 16), thumb)


def _decoded(picture: str) -> bytes:
    try:
        return b64decode(picture, validate=True)
    except ValueError:
        return b""
