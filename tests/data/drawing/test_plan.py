"""The plan of a drawn lot: exact counts, honest ids, copies of clean photos."""

from __future__ import annotations

from collections import Counter

import pytest

from carspotter.data.drawing.plan import COPIES, Faults, given_labels, plan_lot
from carspotter.errors import SourceError


def test_the_counts_are_exactly_those_asked_for() -> None:
    faults = Faults(5, 4, 3, 2, 1, 6, 7, 8, 9)
    slots = plan_lot(200, 30, 1, faults)
    assert Counter(slot.truth.fault for slot in slots if slot.truth.fault) == faults.counts
    assert Counter(slot.truth.split for slot in slots) == {"train": 200, "test": 30}


def test_a_kind_may_be_left_out() -> None:
    slots = plan_lot(50, 10, 1, Faults(2, 0, 0, 0, 0, 0, 0, 0, 0))
    assert Counter(slot.truth.fault for slot in slots) == {"": 58, "wrong_label": 2}


def test_clean_lots_are_balanced_in_random_order() -> None:
    slots = plan_lot(200, 50, 1, None)
    for split, each in (("train", 20), ("test", 5)):
        categories = [slot.truth.category for slot in slots if slot.truth.split == split]
        assert Counter(categories) == {str(i): each for i in range(10)}
        assert categories != sorted(categories)
    assert [str(slot.label) for slot in slots] == [slot.truth.category for slot in slots]


def test_ids_are_unique_and_rise() -> None:
    slots = plan_lot(300, 80, 2, Faults())
    names = [slot.truth.id for slot in slots]
    assert len(set(names)) == 380
    assert names[:300] == sorted(names[:300])
    assert names[300:] == sorted(names[300:])
    assert max(names[:300]) < min(names[300:])


def test_every_copy_has_its_own_clean_original_and_its_shot() -> None:
    slots = plan_lot(400, 100, 3, Faults())
    by_id = {slot.truth.id: slot for slot in slots}
    copies = [slot for slot in slots if slot.truth.of]
    assert {slot.truth.fault for slot in copies} == set(COPIES)
    assert len({slot.truth.of for slot in copies}) == len(copies)
    for copy in copies:
        original = by_id[copy.truth.of]
        assert original.truth.fault == ""
        assert original.truth.split == copy.truth.split == "train"
        assert (copy.shot, copy.label) == (original.shot, original.label)


def test_a_wrong_label_is_wrong_and_known() -> None:
    slots = [slot for slot in plan_lot(100, 10, 4, Faults(30, 0, 0, 0, 0, 0, 0, 0, 0)) if slot.truth.fault]
    assert all(str(slot.label) != slot.truth.category for slot in slots)
    assert {slot.label for slot in slots} <= set(range(10))


def test_the_training_table_has_the_given_labels() -> None:
    slots = plan_lot(60, 10, 5, Faults().scaled(60))
    table = given_labels(slots)
    assert table == [(slot.truth.id, str(slot.label)) for slot in slots[:60]]
    assert slots[0].member == f"train/{slots[0].label}/{slots[0].truth.id}"
    assert slots[-1].member == f"test_upload/{slots[-1].truth.id}"


def test_the_plan_is_decided_by_the_seed() -> None:
    assert plan_lot(40, 10, 6, None) == plan_lot(40, 10, 6, None)
    assert plan_lot(40, 10, 6, None) != plan_lot(40, 10, 7, None)


def test_faults_shrink_with_the_lot_but_each_kind_stays() -> None:
    assert Faults().scaled(400) == Faults().scaled(9000) == Faults()
    assert Faults().scaled(200).counts["wrong_label"] == 4
    assert set(Faults().scaled(20).counts.values()) == {1}


@pytest.mark.parametrize(
    "faults", [Faults(wrong_label=21), Faults(4, 0, 0, -1, 0, 0, 0, 0, 0), Faults(mirrored_copy=50)]
)
def test_faults_that_do_not_fit_are_refused(faults: Faults) -> None:
    with pytest.raises(SourceError, match=r"cannot plant \d+ faults .* in 40 training photos: .* or a clean lot"):
        plan_lot(40, 10, 0, faults)
