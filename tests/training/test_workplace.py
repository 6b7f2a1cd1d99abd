"""Threads and kernels of a training, and that they are put back."""

from __future__ import annotations

import pytest
import torch
from torch.utils import deterministic as fills

from carspotter.training.workplace import fixed_threads


def fail(before: tuple[int, bool, bool]) -> None:
    with fixed_threads(before[0] + 1):
        assert state() != before
        raise ZeroDivisionError


def state() -> tuple[int, bool, bool]:
    return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), fills.fill_uninitialized_memory


def test_a_training_has_fixed_threads_and_deterministic_kernels_that_fill_nothing() -> None:
    with fixed_threads(1) as threads:
        assert threads == 1
        assert state() == (1, True, False)


def test_what_was_set_before_is_set_again_even_after_a_fault() -> None:
    before = state()
    with pytest.raises(ZeroDivisionError):
        fail(before)
    assert state() == before
