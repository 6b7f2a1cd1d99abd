"""Photos per second of a training step with what the package does about memory and threads, beside plain torch.

    python benchmarks/train_step.py [rounds]

Each side is a process of its own, since both settings are read once: plain torch; waiting threads that sleep
(`training/__init__.py`); and freed memory that is kept as well (`training/allocator.py`). Sides alternate.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

SIDES = {"plain torch": (False, False), "threads sleep": (True, False), "and memory stays": (True, True)}
SHAPES = ((144, 192, 16), (240, 320, 8))
STEPS = 6

STEP = """
import sys, time
height, width, batch, steps, keep = (int(word) for word in sys.argv[1:])
import torch
from torch.nn import functional as F
import timm
if keep:
    from carspotter.training.allocator import keep_memory
    keep_memory()
net = timm.create_model("tf_efficientnet_lite0", num_classes=10).to(memory_format=torch.channels_last).train()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
photos = torch.randn(batch, 3, height, width).to(memory_format=torch.channels_last)
labels = torch.arange(batch) % 10
seconds = []
for _ in range(steps):
    started = time.perf_counter()
    loss = F.cross_entropy(net(photos), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    seconds.append(time.perf_counter() - started)
print(batch / sorted(seconds)[len(seconds) // 2])
"""


def speed(shape: tuple[int, int, int], side: tuple[bool, bool]) -> float:
    """Photos per second of one fresh process."""
    sleep, keep = side
    setting = {"OMP_WAIT_POLICY": "PASSIVE"} if sleep else {}
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"} | setting
    words = [sys.executable, "-c", STEP, *map(str, (*shape, STEPS, int(keep)))]
    return float(subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for shape in SHAPES:
        found: dict[str, list[float]] = {name: [] for name in SIDES}
        for _ in range(rounds):
            for name, side in SIDES.items():
                found[name].append(speed(shape, side))
        plain = statistics.median(found["plain torch"])
        print(f"{shape[1]}x{shape[0]}, batch {shape[2]}, {rounds} rounds: photos/s min / median / max")
        for name, speeds in found.items():
            middle = statistics.median(speeds)
            print(f"  {name:18} {min(speeds):6.1f} / {middle:6.1f} / {max(speeds):6.1f}   {middle / plain:.2f}x")


if __name__ == "__main__":
    main()
