"""The lock holds what the project asks for, and the bill of materials what is installed."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.11", "extra": ""}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {plain(name): version for name, version in PIN.findall(text)}


def asked() -> list[Requirement]:
    """What CI installs: the package, [train] and the tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    about = project["project"]
    lines = [*about["dependencies"], *about["optional-dependencies"]["train"], *project["dependency-groups"]["dev"]]
    wanted = [Requirement(line) for line in lines]
    return [one for one in wanted if one.marker is None or one.marker.evaluate(LINUX)]


def test_the_lock_is_not_stale(locked: dict[str, str]) -> None:
    """`make lock` after a change of pyproject.toml or constraints.txt."""
    missing = [str(one) for one in asked() if not one.specifier.contains(locked.get(plain(one.name), "0"))]
    assert missing == []
    pins = PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert len(pins) > 40
    others = [(name, version) for name, version in pins if locked.get(plain(name), version) != version]
    assert others == []


def entries(name: str) -> list[str]:
    """Packages of a lock, each with its hashes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return re.split(r"\n(?=[a-z0-9])", "\n".join(line for line in lines if not line.startswith("#")))


def test_every_file_in_the_lock_has_its_hash(locked: dict[str, str]) -> None:
    found = entries("requirements.lock")
    assert len(found) == len(locked) > 100
    assert all("--hash=sha256:" in entry for entry in found)


def test_the_lock_of_the_base_install_is_a_part_of_the_whole(locked: dict[str, str]) -> None:
    base = entries("requirements-base.lock")
    assert set(base) <= set(entries("requirements.lock"))
    names = {plain(PIN.findall(entry)[0][0]) for entry in base}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {plain(Requirement(line).name) for line in needed} <= names < locked.keys()


@pytest.mark.slow
def test_the_bill_of_materials_is_whole_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    bill = importlib.import_module("write_sbom").bill
    made = bill()
    assert made == bill() == json.loads(json.dumps(made))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made["metadata"]["component"]["name"] == "carspotter"
    refs = [part["bom-ref"] for part in made["components"]]
    assert len(refs) == len(set(refs))
    assert any(ref.startswith("pkg:pypi/numpy@") for ref in refs)
    known = {*refs, made["metadata"]["component"]["bom-ref"]}
    assert all({one["ref"], *one["dependsOn"]} <= known for one in made["dependencies"])
    (ours,) = (one for one in made["dependencies"] if one["ref"].startswith("pkg:pypi/carspotter@"))
    assert any(ref.startswith("pkg:pypi/onnxruntime@") for ref in ours["dependsOn"])
