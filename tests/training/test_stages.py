from __future__ import annotations

import numpy as np
import pytest
import torch

from carspotter.training.loop import weighted_loss
from carspotter.training.stages import logit_offsets


def test_offsets_are_tau_times_the_log_of_each_class_s_share() -> None:
    assert logit_offsets(np.array([1.0, 3.0]), 2.0).tolist() == pytest.approx([2 * np.log(0.25), 2 * np.log(0.75)])


def test_a_class_whose_photos_are_all_left_out_spoils_no_loss() -> None:
    offsets = logit_offsets(np.array([2.0, 0.0, 2.0]), 1.0)
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert offsets.tolist() == pytest.approx([np.log(0.5), 0, np.log(0.5)])
    assert torch.isfinite(weighted_loss(torch.zeros(2, 3) + offsets, targets))
