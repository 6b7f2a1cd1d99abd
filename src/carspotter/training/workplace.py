"""Where a training works: a device, a fixed number of threads, and kernels that give the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic as fills

from carspotter.recipe import Recipe
from carspotter.training.allocator import keep_memory
from carspotter.training.devices import Device, DeviceName, device_for
from carspotter.workers import usable_cores


@contextmanager
def workplace(recipe: Recipe, device: DeviceName) -> Iterator[tuple[Recipe, Device]]:
    """The recipe with its number of threads, and the device; everything is put back afterwards.

    Raises:
        RecipeError: there is no such device, or it cannot compute as the recipe asks.
    """
    with fixed_threads(recipe.threads) as threads, device_for(device, recipe) as here:
        yield recipe.model_copy(update={"threads": threads}), here


@contextmanager
def fixed_threads(wanted: int) -> Iterator[int]:
    """A fixed number of CPU threads and deterministic kernels, put back afterwards: both are part of the result.

    What the C library was told about memory stays told: there is no way back, and no result depends on it.
    """
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = fills.fill_uninitialized_memory  # type: ignore[attr-defined]
    threads = wanted or usable_cores()
    keep_memory()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # With deterministic kernels torch also fills every new tensor, to show bugs; that costs a tenth of a step
    # (docs/log.md, 2026-11-22) and changes no result of kernels that write all they allocate.
    fills.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield threads
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)
        fills.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
