"""What the C library keeps between steps goes back to the system between stages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from carspotter.training.allocator import keep_memory, release_memory

GLIBC = platform.libc_ver()[0] == "glibc"
STAGES = """
import resource, sys
import torch
from carspotter.training.allocator import keep_memory, release_memory
keep_memory()
kept = []
def stage(count, size):
    # What a stage holds and frees, and a little after each block that it leaves behind, as parameters and records are.
    blocks = []
    for _ in range(count):
        blocks.append(torch.ones(size))
        kept.append(torch.ones(1000))
    del blocks
    if sys.argv[1] == "release":
        release_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20
before = resident()
stage(100, 500_000)
print(resident() - before)
stage(40, 1_000_000)
# The peak of this program alone: getrusage also knows that of the process it was forked from.
highest = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(highest.split()[1]) // 2**10 - before)
"""


def test_memory_is_kept_where_the_c_library_can() -> None:
    assert keep_memory() == GLIBC


@pytest.mark.skipif(not GLIBC, reason="another C library")
@pytest.mark.slow
def test_what_a_stage_freed_is_handed_back() -> None:
    """Two stages with blocks of different sizes, a few of which stay: megabytes after the first, and at most."""
    after, peak = {}, {}
    for how in ("keep", "release"):
        ran = subprocess.run([sys.executable, "-c", STAGES, how], capture_output=True, text=True, check=True)
        after[how], peak[how] = map(int, ran.stdout.split())
    sys.stdout.write(f"after a stage {after}, at most {peak} MiB\n")
    assert after["keep"] > 150  # 100 blocks of 2 MB
    assert after["release"] < 50
    assert peak["release"] < peak["keep"] - 100  # 40 blocks of 4 MB fit into none of the holes


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_memory()
    assert not release_memory()
