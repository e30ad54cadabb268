"""The scan of a code table finds the same nearest vectors as brute force."""

from __future__ import annotations

import numpy as np
import pytest

from indexd.store.sqlite.store import SqliteStore
from indexd.store.sqlite.vectors import code_tables
from indexd.store.sqlite.vectors.code_tables import iter_code_slices
from indexd.store.sqlite.vectors.revisions import active_coding
from indexd.vector_index.code_index import CandidateLimits
from indexd.vector_index.code_scan import refine, scan_slices
from indexd.vector_index.estimate import encode_query
from indexd.vector_index.quantize import quantize, split_codes
from tests.unit.store.sample_rows import Library, unit_vectors

COUNT, DIM, WANTED = 2600, 64, 50


@pytest.mark.parametrize("share", [None, 0.5, 0.02, 0.0])
def test_the_scan_finds_the_nearest_codes(
    store: SqliteStore, library: Library, monkeypatch: pytest.MonkeyPatch, share: float | None
) -> None:
    # So that what is nearest is put together from several reads.
    monkeypatch.setattr(code_tables, "CHUNKS_PER_SLICE", 1)
    ids = np.array(library.add_many(COUNT))
    vectors = unit_vectors(COUNT, DIM)
    store.vectors.put("clip_h", store.vectors.activate("clip_h", "one", DIM, "image"), ids.tolist(), vectors)
    chosen = np.ones(COUNT, bool) if share is None else np.random.default_rng(1).random(COUNT) < share
    with store._database.read() as connection:
        coding = active_coding(connection, "clip_h")
        assert coding is not None
        aim = encode_query(vectors[7], coding.mean, coding.rotation_seed)
        among = None if share is None else ids[chosen]
        found = scan_slices(iter_code_slices(connection, coding), aim, CandidateLimits(WANTED, WANTED, WANTED), among)
        signs, lengths = split_codes(quantize(vectors, coding.mean, coding.rotation_seed))
    estimates = refine(aim, signs, lengths)
    assert found.estimates is not None
    assert found.estimates.tolist() == sorted(estimates[chosen].tolist(), reverse=True)[:WANTED]
    place = {image_id: at for at, image_id in enumerate(ids.tolist())}
    assert [estimates[place[one]] for one in found.ids.tolist()] == found.estimates.tolist()
    assert set(found.ids.tolist()) <= set(ids[chosen].tolist())
