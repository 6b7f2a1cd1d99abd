"""Decisions about findings, as the page keeps them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from carspotter.apps.web.review import Review
from carspotter.records import Dataset, Photo, Verb
from carspotter.tracking.decisions import decided_so_far

FINDINGS = """\
id,kind,score,is_issue,why,suggestion
a.jpg,leak,0,1,a copy,val.jpg
a.jpg,leak,0,1,a copy,test.jpg
"""


def test_each_copy_is_decided_by_itself_and_all_of_them_by_a_line_that_names_none(tmp_path: Path) -> None:
    (tmp_path / "findings.csv").write_text(FINDINGS, encoding="utf-8")
    table = tmp_path / "decisions.csv"
    photos = Dataset((Photo("a.jpg", b""),))
    review = Review(tmp_path / "findings.csv", photos, table, "me")
    val, test = review.suspects
    asyncio.run(review.decide(val, Verb.KEEP))
    assert (review.decision(val) is not None, review.decision(test)) == (True, None)
    asyncio.run(review.undo(val))
    assert decided_so_far(table) == ()

    table.write_text("id,kind,decision,who,when\na.jpg,leak,keep,ann,2026-11-26\n", encoding="utf-8")
    review = Review(tmp_path / "findings.csv", photos, table, "me")
    assert None not in (review.decision(val), review.decision(test))
    asyncio.run(review.undo(test))
    assert (review.decision(val), review.decision(test)) == (None, None)
    asyncio.run(review.undo(test))  # nothing is left to undo
    assert decided_so_far(table) == ()
