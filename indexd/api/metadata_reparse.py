"""Parses stored metadata again with the current parsers, one slice of images at a time."""

from __future__ import annotations

import sys
from dataclasses import replace

from indexd.image_metadata.model import PARSER_VERSION
from indexd.images.reader_client import parse_stored_texts
from indexd.indexing.stages import text_layers_by_input
from indexd.store.protocols import IndexStore
from indexd.worker.calls import StoredTexts
from indexd_schemas.api.requests import ReparseRequest
from indexd_schemas.api.responses import ReparseReport

# Problems that a metadata parser reported begin with this; the others come from the file itself and stay.
_READER_PROBLEM_PREFIX = "the reader of "


def reparse_metadata(store: IndexStore, request: ReparseRequest) -> ReparseReport:
    """Parse the stored metadata of the next images again. Reads no file."""
    version = sys.maxsize if request.everything else PARSER_VERSION
    ids, left = store.images.find_outdated(version, request.after, request.limit)
    if not ids:
        return ReparseReport(read=0, changed=0, last_id=None, left=0)
    raws, problems = store.images.raw_chunks_by_image(ids), store.images.parse_problems(ids)
    rows = store.images.rows(ids)
    stored = [
        StoredTexts(
            tuple(raws.get(image_id, ())),
            _file_problems(problems.get(image_id)),
            (rows[image_id].width, rows[image_id].height) if image_id in rows else None,
        )
        for image_id in ids
    ]
    parsed = {
        image_id: replace(metadata, raw=texts.chunks)
        for image_id, texts, metadata in zip(ids, stored, parse_stored_texts(stored), strict=True)
    }
    changed = store.images.update_metadata(parsed, text_layers_by_input())
    return ReparseReport(read=len(ids), changed=changed, last_id=ids[-1], left=left - len(ids))


def _file_problems(problem: str | None) -> tuple[str, ...]:
    return tuple(part for part in (problem or "").split("; ") if part and not part.startswith(_READER_PROBLEM_PREFIX))
