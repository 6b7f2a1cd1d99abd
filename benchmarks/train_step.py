"""Photos per second of a training step with what the package does about threads and memory, beside plain torch.

    python benchmarks/train_step.py [--minutes 3.8]        # as many rounds as fit, one at least

Each side is a process of its own, since what waiting threads do and what is freed is decided once per process: threads
that wait as torch has it, that spin (ACTIVE), or that sleep (PASSIVE, as `training/__init__.py` asks for); freed memory
that is kept (`training/allocator.py`); and a batch in one piece by two threads, or in two shards by one thread each
(`training/shards.py`). Sides alternate; the shapes are those of the stages of a progressive training.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from common import median

NET, CLASSES = "tf_efficientnet_lite0", 10
THREADS = 2
SHAPES = ((112, 152, 32), (144, 192, 16), (240, 320, 8))
"""Height, width, photos per step."""
LEAST_STEPS = 3


@dataclass(frozen=True, slots=True)
class Side:
    """Shards of a batch, OMP_WAIT_POLICY (None: not set), and whether freed memory is kept."""

    name: str
    shards: int
    wait: str | None
    keep: bool


SIDES = (
    Side("torch as it comes", 1, None, False),
    Side("threads spin", 1, "ACTIVE", False),
    Side("threads sleep", 1, "PASSIVE", False),
    Side("threads sleep, memory stays", 1, "PASSIVE", True),
    Side("2 shards, threads spin, memory stays", 2, "ACTIVE", True),
    Side("2 shards, threads sleep", 2, "PASSIVE", False),
    Side("2 shards, threads sleep, memory stays", 2, "PASSIVE", True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.8, help="no round is begun that would end later")
    parser.add_argument("--seconds", type=float, default=1.0, help="of steps for each shape, in each process")
    parser.add_argument("--side", type=int, help="measure this one and print it; the script calls itself so")
    options = parser.parse_args()
    if options.side is not None:
        return print(json.dumps(measure(SIDES[options.side], options.seconds)))
    found: list[list[list[float]]] = [[] for _ in SIDES]
    started, longest = time.monotonic(), 0.0
    while time.monotonic() - started + longest < 60 * options.minutes or not found[0]:
        begun = time.monotonic()
        for number, speeds in enumerate(found):
            speeds.append(run(number, options.seconds))
        longest = max(longest, time.monotonic() - begun)
    report(found)
    return None


def report(found: list[list[list[float]]]) -> None:
    for at, (height, width, batch) in enumerate(SHAPES):
        print(f"{width}x{height}, batch {batch}, {len(found[0])} rounds: photos/s min / median / max")
        plain = median([speeds[at] for speeds in found[0]])
        for side, rounds in zip(SIDES, found, strict=True):
            speeds = sorted(speeds[at] for speeds in rounds)
            middle = median(speeds)
            print(f"  {side.name:38} {speeds[0]:6.1f} / {middle:6.1f} / {speeds[-1]:6.1f}   {middle / plain:.2f} times")


def run(number: int, seconds: float) -> list[float]:
    """Photos per second of one side at each shape, from a fresh process."""
    wait = SIDES[number].wait
    env = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    env |= {"OMP_WAIT_POLICY": wait} if wait else {}
    words = [sys.executable, __file__, "--side", str(number), "--seconds", str(seconds)]
    speeds: list[float] = json.loads(subprocess.run(words, env=env, capture_output=True, check=True).stdout)
    return speeds


def measure(side: Side, seconds: float) -> list[float]:
    """In this process; torch first, or the package would tell its threads to sleep."""
    import torch

    from carspotter.training.allocator import keep_memory

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    if side.keep:
        keep_memory()
    return [speed(side, shape, seconds) for shape in SHAPES]


def speed(side: Side, shape: tuple[int, int, int], seconds: float) -> float:
    """Photos per second by the median step, after one that is not counted."""
    import timm
    import torch

    from carspotter.training.classifier import Body, Head, Learner
    from carspotter.training.loop import weighted_loss
    from carspotter.training.shards import Shards
    from carspotter.training.stage_data import Batch

    height, width, batch = shape
    torch.manual_seed(0)
    net = timm.create_model(NET, num_classes=0)
    learner = Learner(Body(net, "avg"), Head(net.num_features, CLASSES)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-4)
    photos = torch.randn(batch, 3, height, width).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % CLASSES
    targets = torch.nn.functional.one_hot(labels, CLASSES).float()
    parts = [
        Batch(*some) for some in zip(*(whole.chunk(side.shards) for whole in (photos, targets, labels)), strict=True)
    ]
    shards, taken = Shards(learner, side.shards, THREADS), []
    with shards.working():
        while len(taken) <= LEAST_STEPS or sum(taken[1:]) < seconds:
            started = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            shards.gradients(parts, weighted_loss)
            optimizer.step()
            taken.append(time.perf_counter() - started)
    return batch / median(taken[1:])


if __name__ == "__main__":
    main()
