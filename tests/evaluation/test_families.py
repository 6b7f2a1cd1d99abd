"""Families as names show them, and as a table tells them."""

from __future__ import annotations

import numpy as np

from carspotter.evaluation.families import Family, common_family, find_families, smallest_family

CONTEST = ("BMW_3ER", "BMW_5ER", "BMW_X3", "BMW_X5", "AUDI_A4", "AUDI_A6", "MERCEDES_C_KLASSE", "MERCEDES_S_KLASSE")
LADA = ("Lada Priora", "Ford Focus", "Lada 2110", "Lada 2107", "Lada 2109", "Lada 21099")


def test_names_show_makes_and_series() -> None:
    assert find_families(CONTEST) == (
        Family("AUDI", (4, 5)),
        Family("BMW X", (2, 3)),
        Family("MERCEDES", (6, 7)),
        Family("BMW", (0, 1, 2, 3)),
    )


def test_a_name_that_another_continues_makes_a_pair() -> None:
    assert find_families(LADA) == (Family("Lada 2109 / 21099", (4, 5)), Family("Lada", (0, 2, 3, 4, 5)))


def test_names_without_anything_in_common_have_no_family() -> None:
    assert find_families(("hatchback", "sedan")) == ()
    assert find_families(("", "_", "a")) == ()


def test_a_table_says_otherwise() -> None:
    parents = {"a": "small", "b": "small", "c": "large", "small": "car", "large": "car", "car": "car"}
    assert find_families(("a", "b", "c"), parents) == (Family("small", (0, 1)), Family("car", (0, 1, 2)))


def test_parents_in_a_ring_end() -> None:
    assert find_families(("a", "b"), {"a": "x", "b": "x", "x": "y", "y": "x"}) == (Family("x", (0, 1)),)


def test_the_smallest_family_that_is_likely_enough_is_claimed() -> None:
    families = find_families(CONTEST)
    x_model = np.array([0.05, 0.02, 0.5, 0.4, 0.01, 0.01, 0.005, 0.005])
    some_bmw = np.array([0.3, 0.2, 0.25, 0.2, 0.02, 0.01, 0.01, 0.01])
    assert smallest_family(x_model, families, 0.85) == Family("BMW X", (2, 3))
    assert smallest_family(some_bmw, families, 0.9) == Family("BMW", (0, 1, 2, 3))
    assert smallest_family(np.full(8, 1 / 8), families, 0.8) is None


def test_claimed_classes_share_a_family_or_none() -> None:
    families = find_families(CONTEST)
    assert common_family([3, 2], families) == Family("BMW X", (2, 3))
    assert common_family([0, 2], families) == Family("BMW", (0, 1, 2, 3))
    assert common_family([0, 4], families) is None
