"""The last item of a series: its sheet, which is drawn when every image of the job has ended."""

from __future__ import annotations

from indexd.jobs.kinds import Artifact, ItemCall, ItemMaker
from indexd.model_files import ModelCatalogue
from indexd.store.protocols import JobOutputRepository
from indexd.store.records import JobItemRow, JobRow
from indexd.worker.calls import RunFunction
from indexd.worker.routing import DECODE
from indexd_schemas.job_state import JobState

SHEET_KEY = "sheet"
SHEET_SUFFIX = ".sheet.png"
"""The watcher leaves out files with this ending: a sheet is similar to every image on it, and would fill search results."""
DRAW_FUNCTION = "indexd.images.series_sheet:draw_series_sheet"


def is_sheet(item: JobItemRow) -> bool:
    """Whether the item is the sheet of a series."""
    return SHEET_KEY in item.settings


class SheetMaker(ItemMaker):
    """Makes the sheet of a series from the images that are done."""

    def __init__(self, ledger: JobOutputRepository) -> None:
        self._ledger = ledger

    def call(self, job: JobRow, item: JobItemRow, catalogue: ModelCatalogue) -> ItemCall:  # noqa: ARG002
        plan = item.settings[SHEET_KEY]
        paths = {one.index: one.path for one in self._ledger.items(job.id) if one.state is JobState.DONE}
        blocks = [
            {"title": block["title"], "cells": [paths.get(index) for index in block["items"]]}
            for block in plan["blocks"]
        ]
        return ItemCall(RunFunction(DRAW_FUNCTION, DECODE, {**plan, "blocks": blocks}))

    def artifact(self, result: bytes) -> Artifact:
        return Artifact(result)
