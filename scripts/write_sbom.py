"""Write a bill of materials: every package of the environment that runs this, as CycloneDX 1.6 in JSON.

python scripts/write_sbom.py [FILE]    (default: carspotter.cdx.json)

Read from the installed packages' own metadata, so it states what is there, not what was asked for. The extras that are
in it are those that are installed. Nothing of this machine or moment is in it: the same packages give the same file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from packaging.requirements import Requirement

ROOT = "carspotter"
FILE = Path("carspotter.cdx.json")


def bill() -> dict[str, Any]:
    """The whole document; https://cyclonedx.org/docs/1.6/json."""
    held = {plain(found.name): found for found in distributions()}
    parts = [component(held[name]) for name in sorted(held) if name != ROOT]
    body = {
        "metadata": {"component": component(distribution(ROOT)) | {"type": "application"}},
        "components": parts,
        "dependencies": [{"ref": purl(held[name]), "dependsOn": needs(held[name], held)} for name in sorted(held)],
    }
    serial = uuid5(NAMESPACE_URL, json.dumps(body, sort_keys=True))
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
    }
    return {**head, "serialNumber": f"urn:uuid:{serial}", "version": 1, **body}


def component(found: Distribution) -> dict[str, Any]:
    """One package."""
    return {
        "type": "library",
        "bom-ref": purl(found),
        "name": found.name,
        "version": found.version,
        "purl": purl(found),
        **licences(found),
    }


def licences(found: Distribution) -> dict[str, Any]:
    """What the package says of its licence: an SPDX expression, else its classifiers, else a word; or nothing."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return {"licenses": [{"expression": expression}]}
    names = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if text.startswith("License ::")]
    word = (about.get("License") or "").strip()
    if not names and word and len(word) < 100 and "\n" not in word:  # some put the whole text there
        names = [word]
    return {"licenses": [{"license": {"name": name}} for name in names]} if names else {}


def needs(found: Distribution, held: dict[str, Distribution]) -> list[str]:
    """The packages that are there because this one asks for them, or offers to use them."""
    return sorted({purl(held[name]) for name in wanted(found) if name in held})


def wanted(found: Distribution) -> Iterator[str]:
    for line in found.requires or ():
        asked = Requirement(line)
        if asked.marker is None or "extra" in str(asked.marker) or asked.marker.evaluate({"extra": ""}):
            yield plain(asked.name)


def purl(found: Distribution) -> str:
    """The package's address; https://github.com/package-url/purl-spec."""
    return f"pkg:pypi/{plain(found.name)}@{found.version.replace('+', '%2B')}"


def plain(name: str) -> str:
    """A name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    made = bill()
    target.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target}: {len(made['components'])} packages beside {ROOT}")
