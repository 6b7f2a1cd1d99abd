"""What differs between runs beside their figures: settings as far as they are known, data, split, code, machine."""

from __future__ import annotations

from typing import Any

from carspotter.recipe import recipe_settings
from carspotter.records import Machine, Run
from carspotter.tracking.seed.columns import COLUMNS
from carspotter.tracking.seed.settings import beyond_recipes
from carspotter.tracking.sides import SHORT

UNKNOWN = "unknown"
"""A setting that the log of an imported run does not name; our recipe's default was not its."""
ABSENT = "–"
DECIDE_NOTHING = ("name", "about")


def known_settings(run: Run) -> dict[str, Any]:
    """Every setting by its dotted key; `UNKNOWN` for what the log of an imported run leaves open."""
    settings = recipe_settings(run.recipe)
    if run.imported is None:
        return settings
    stated = {"name", *run.imported.stated}
    return {key: value if key in stated else UNKNOWN for key, value in settings.items()}


def all_settings(run: Run) -> dict[str, Any]:
    """As `known_settings`, and what the log of an imported run says beyond our recipes, by its column."""
    beyond = {} if run.imported is None else beyond_recipes(run.imported.cells)
    return known_settings(run) | beyond


def differing_settings(a: Run, b: Run) -> list[str]:
    """Keys of the settings that differ, as far as known; a stage that only one recipe has is one key, not thirty.

    What one log names and another does not is among them; what a log leaves open of our own recipes is not.
    """
    left, right = all_settings(a), all_settings(b)
    both_logs = a.imported is not None and b.imported is not None
    shared = min(len(a.recipe.stage), len(b.recipe.stage))
    found: dict[str, None] = {}
    for key in [*left, *(key for key in right if key not in left)]:
        pair = (left.get(key), right.get(key))
        open_to_one = UNKNOWN in pair or key in COLUMNS
        if pair[0] == pair[1] or key in DECIDE_NOTHING or (open_to_one and not both_logs):
            continue
        part, _, rest = key.partition(".")
        number = rest.partition(".")[0]
        found[f"stage.{number}" if part == "stage" and int(number) >= shared else key] = None
    return list(found)


def setting(run: Run, key: str) -> Any:
    """A run's value of such a key; None where its recipe has none."""
    part, _, number = key.partition(".")
    if part != "stage" or not number.isdigit():
        return all_settings(run).get(key)
    if int(number) >= len(run.recipe.stage):
        return None
    stage = run.recipe.stage[int(number)]
    return f"{stage.name}: {stage.epochs} epochs of {stage.trains} at {stage.width}x{stage.height}"


def rerun_differences(old: Run, new: Run) -> tuple[str, ...]:
    """Why a repeated training gave another model; empty when it gave the same one.

    Returns:
        A sentence for each thing that changed, or one that says that nothing recorded did.
    """
    if old.bundle_hash is not None and old.bundle_hash == new.bundle_hash:
        return ()
    missing = [run for run in (old, new) if run.bundle_hash is None]
    if missing:
        return tuple(f"run {run.id[:SHORT]} is {run.status} and has no model to compare" for run in missing)
    settings = differing_settings(old, new)
    changed = [f"not the same settings ({', '.join(settings)})"] if settings else []
    changed += [*_photo_changes(old, new), *place_changes(old, new)]
    hashes = f"the bundle hash is {short_hash(new)} instead of {short_hash(old)}"
    return tuple(changed) or (f"nothing recorded changed, and yet {hashes}: the training does not repeat itself",)


def _photo_changes(old: Run, new: Run) -> list[str]:
    """What differs of data and split; other validation photos are said whatever made them others."""
    found = [*data_changes(old, new), *split_changes(old, new)]
    if old.validation == new.validation:
        return found
    return [*found, f"not the same validation photos{'' if found else ', although data and way of splitting are'}"]


def data_changes(a: Run, b: Run) -> list[str]:
    """Differences of photos and classes, a sentence each; none where a log does not tell."""
    if a.imported or b.imported:
        return []
    found = []
    if a.dataset != b.dataset:
        prints = f"fingerprints {a.dataset[:SHORT]} and {b.dataset[:SHORT]}"
        found.append(f"not the same data ({a.photos} and {b.photos} photos, {prints})")
    if a.classes != b.classes:
        found.append(f"not the same classes ({len(a.classes)} and {len(b.classes)})")
    if a.extra != b.extra:
        shown = [" ".join(run.extra) or "none" for run in (a, b)]
        found.append(f"not the same outside photos in training, or another teacher ({shown[0]}; {shown[1]})")
    elif a.birth and b.birth and a.birth.outside != b.birth.outside:
        found.append("other outside photos under the same names, or a teacher that says otherwise")
    return found


def split_changes(a: Run, b: Run) -> list[str]:
    """Whether the photos were divided in another way."""
    if a.split == b.split:
        return []
    return [f"not split the same way ({a.split or 'not at all'}; {b.split or 'not at all'})"]


def place_changes(a: Run, b: Run) -> list[str]:
    """Differences of code and machine, a sentence each; of a log, that it does not tell."""
    if a.imported or b.imported:
        silent = sum(value == UNKNOWN for value in known_settings(a if a.imported else b).values())
        return [f"a log does not tell data, code and machine, nor {silent} of the settings; these may differ as well"]
    return [*_code_changes(a, b), *_machine_changes(a.machine, b.machine)]


def short_hash(run: Run) -> str:
    """The beginning of its bundle hash."""
    return ABSENT if run.bundle_hash is None else run.bundle_hash[:SHORT]


def _code_changes(a: Run, b: Run) -> list[str]:
    if a.code_version != b.code_version:
        return [f"not the same code ({a.code_version} and {b.code_version})"]
    if a.code_version.endswith(".dirty"):
        return [f"the code had changes that no commit holds ({a.code_version}), so it may differ"]
    return []


def _machine_changes(a: Machine, b: Machine) -> list[str]:
    fields = ("system", "processor", "cores", "threads", "device", "python")
    found = [
        f"not the same {name} ({getattr(a, name)} and {getattr(b, name)})"
        for name in fields
        if getattr(a, name) != getattr(b, name)
    ]
    names = sorted(name for name in {*a.packages, *b.packages} if a.packages.get(name) != b.packages.get(name))
    versions = [f"{name} {a.packages.get(name, ABSENT)} and {b.packages.get(name, ABSENT)}" for name in names]
    return [*found, f"not the same packages ({', '.join(versions)})"] if versions else found
