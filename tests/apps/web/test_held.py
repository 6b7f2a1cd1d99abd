"""What visitors' pages hold, within one bound for all of them."""

from __future__ import annotations

from carspotter.apps.web.held import Held, Upload


def test_who_holds_most_loses_his_oldest() -> None:
    held, lost = Held(100), list[str]()

    def keep(visitor: str, name: str, size: int) -> Upload:
        file = Upload(name, b"x" * size)
        held.keep(visitor, file, lambda: lost.append(name))
        return file

    held.come("much")
    held.come("little")
    keep("much", "m1", 40)
    second = keep("much", "m2", 40)
    keep("little", "l1", 20)
    assert (held.size, lost) == (100, [])
    keep("little", "l2", 10)  # it is the other one who makes room
    assert (held.size, lost) == (70, ["m1"])
    held.drop("much", second)
    held.drop("much", second)
    assert held.size == 30
    keep("little", "l3", 101)  # more than there is room for: nothing is held
    assert (held.size, lost) == (0, ["m1", "l1", "l2", "l3"])


def test_what_a_closed_page_held_is_gone() -> None:
    held = Held(100)
    held.come("a")
    held.keep("a", Upload("1", b"x" * 10), lambda: None)
    held.go("a")
    assert held.size == 0
    held.keep("a", Upload("2", b"x" * 10), lambda: None)  # it arrived after the page was closed
    assert held.size == 0
    held.go("a")
