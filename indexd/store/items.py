"""Items of jobs as records."""

from __future__ import annotations

import json

from indexd.store.records import JobItemRow, JobItemState

ITEM_COLUMNS = (
    "item.id, item.job_id, item.position, item.seed, item.path, item.settings, item.state, item.attempts, item.not_before,"
    " item.error, item.content_hash, item.seconds, item.report, item.rejected, item.scores"
)
# fmt: off
RawItem = tuple[
    int, int, int, str, bytes, str, JobItemState, int, float, str | None, bytes | None, float | None, str, bytes | None, str | None
]
# fmt: on


def item_row(row: RawItem) -> JobItemRow:
    """The record of one row of ITEM_COLUMNS. Seeds reach 2^64 - 1 and are text in the table."""
    item_id, job_id, position, seed, path, settings = row[:6]
    report, rejected, scores = row[12:]
    return JobItemRow(
        item_id, job_id, position, int(seed), path, json.loads(settings), *row[6:12],
        json.loads(report), rejected, json.loads(scores or "{}"),
    )  # fmt: skip
