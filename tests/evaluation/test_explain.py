from __future__ import annotations

import numpy as np
import pytest

from carspotter.evaluation.explain import (
    HeadRows,
    Pooling,
    agrees,
    head_rows,
    heatmap,
    lay_out,
    overlay,
    pool,
    upsample,
)

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(5, 3, 4)).astype(np.float32)
ROWS = HeadRows(RNG.normal(size=(3, 5)).astype(np.float32), RNG.normal(size=3).astype(np.float32))


def logits(features: np.ndarray, pooling: Pooling) -> np.ndarray:
    """A linear head written out anew: features (C, cells)."""
    flat = features.reshape(len(features), -1)
    pooled = {"avg": flat.mean(1), "max": flat.max(1), "avgmax": 0.5 * (flat.mean(1) + flat.max(1))}[pooling]
    return (ROWS.weight @ pooled + ROWS.bias).astype(np.float32)


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax"])
def test_the_mean_of_the_map_is_the_lead_less_the_biases(pooling: Pooling) -> None:
    cells = heatmap(FEATURES, ROWS.weight[2], ROWS.weight[0], pooling)
    assert cells.shape == (3, 4)
    said = logits(FEATURES, pooling)
    assert cells.mean() == pytest.approx(said[2] - said[0] - (ROWS.bias[2] - ROWS.bias[0]), abs=1e-5)


def test_each_cell_adds_what_it_would_take_away() -> None:
    cells = heatmap(FEATURES, ROWS.weight[1], ROWS.weight[2])
    without = FEATURES.copy()
    without[:, 2, 1] = 0
    before, after = logits(FEATURES, "avg"), logits(without, "avg")
    assert cells[2, 1] / cells.size == pytest.approx((before - after)[1] - (before - after)[2], abs=1e-5)


def test_the_other_way_round_is_the_negative() -> None:
    there, back = (heatmap(FEATURES, ROWS.weight[a], ROWS.weight[b]) for a, b in ((0, 1), (1, 0)))
    np.testing.assert_allclose(there, -back)


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax"])
def test_rows_are_proven_on_the_photo(pooling: Pooling) -> None:
    said = logits(FEATURES, pooling)
    assert agrees(FEATURES, ROWS, said, pooling)
    assert not agrees(FEATURES, ROWS, said + np.float32(0.1), pooling)
    assert not agrees(FEATURES[:4], ROWS, said, pooling)
    assert not agrees(FEATURES, ROWS, np.full(3, np.nan, np.float32), pooling)


def test_another_pooling_is_noticed() -> None:
    assert not agrees(FEATURES, ROWS, logits(FEATURES, "max"), "avg")


def test_batchnorm_before_the_linear_layer_is_folded_in() -> None:
    gain, offset, mean = (RNG.normal(size=5).astype(np.float32) for _ in range(3))
    variance = RNG.uniform(0.5, 2, 5).astype(np.float32)
    head = {"linear.weight": ROWS.weight, "linear.bias": ROWS.bias, "body.0.num_batches_tracked": np.zeros(())}
    head |= {"body.0.weight": gain, "body.0.bias": offset, "body.0.running_mean": mean, "body.0.running_var": variance}
    folded = head_rows(head, hidden=0)
    assert folded is not None
    normed = (pool(FEATURES, "avg") - mean) / np.sqrt(variance + 1e-5) * gain + offset
    said = (ROWS.weight @ normed + ROWS.bias).astype(np.float32)
    assert agrees(FEATURES, folded, said, "avg")
    assert not agrees(FEATURES, ROWS, said, "avg")


@pytest.mark.parametrize(
    ("head", "hidden"),
    [
        ({"linear.weight": ROWS.weight}, 128),
        ({}, 0),
        ({"linear.weight": ROWS.bias}, 0),
        ({"linear.weight": ROWS.weight, "body.0.weight": np.ones(5, np.float32)}, 0),
        ({"linear.weight": ROWS.weight} | {f"body.0.{n}": np.ones(4, np.float32) for n in
          ("weight", "bias", "running_mean", "running_var")}, 0),
    ],
)  # fmt: skip
def test_what_is_not_a_linear_head_has_no_rows(head: dict[str, np.ndarray], hidden: int) -> None:
    assert head_rows(head, hidden) is None


def test_a_head_without_bias() -> None:
    rows = head_rows({"linear.weight": ROWS.weight}, 0)
    assert rows is not None
    assert not rows.bias.any()


def test_tokens_are_laid_out_without_their_prefix() -> None:
    """Two tokens for no place, then two rows of three patches of 16 pixels."""
    tokens = np.arange(8.0)
    placed = lay_out(tokens, 32, 48)
    assert placed is not None
    np.testing.assert_allclose(placed, np.array([[2, 3, 4], [5, 6, 7]]) * 6 / 8)
    assert placed.mean() == pytest.approx(tokens[2:].sum() / 8)  # their share of the mean over all tokens


def test_tokens_of_a_net_sum_to_the_lead() -> None:
    tokens = FEATURES.reshape(5, 12).T
    cells = heatmap(tokens, ROWS.weight[2], ROWS.weight[0])
    said = logits(FEATURES, "avg")
    assert cells.shape == (12,)
    assert cells.mean() == pytest.approx(said[2] - said[0] - (ROWS.bias[2] - ROWS.bias[0]), abs=1e-5)


def test_tokens_that_fit_no_grid() -> None:
    assert lay_out(np.zeros(1000), 32, 48) is None


def test_upsampled_cells_stand_where_they_were() -> None:
    cells = np.zeros((3, 4))
    cells[2, 1] = 1
    large = upsample(cells, 30, 80)
    assert large.shape == (30, 80)
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert 20 <= row < 30
    assert 20 <= column < 40
    assert large[:9].max() == 0
    np.testing.assert_allclose(upsample(np.full((2, 3), 7.0), 5, 9), 7)


def test_the_overlay_shows_both_signs() -> None:
    grey = np.full((1, 3, 3), 100, np.uint8)
    left, middle, right = overlay(grey, np.array([[1.0, 0.0, -1.0]]))[0].astype(int)
    assert left[0] > 150 > left[2]  # red side
    np.testing.assert_array_equal(middle, 100)
    assert right[2] > 150 > right[0]  # blue side


def test_a_map_without_heat_leaves_the_photo() -> None:
    grey = np.full((2, 2, 3), 100, np.uint8)
    np.testing.assert_array_equal(overlay(grey, np.zeros((2, 2))), grey)
