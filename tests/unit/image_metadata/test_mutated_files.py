"""Mutated files: bytes of real and of made files are changed, cut, repeated and moved; reading them is always orderly."""

from __future__ import annotations

import io
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexd.image_metadata.budget import PROBLEM_CHARACTERS_MAX
from indexd.image_metadata.errors import UnreadableImage
from indexd.image_metadata.file_reader import read_image
from tests.unit.image_metadata.test_total import SAMPLES

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus"
FILE_BYTES_MAX = 60_000

Mutation = tuple[str, int, int, bytes]


def originals() -> list[bytes]:
    """The files made by the tests, and the small ones of the corpus where it is present."""
    found = [path for folder in ("metadata", "metadata-2") for path in sorted((CORPUS / folder).rglob("*.*"))]
    real = [
        path.read_bytes()
        for path in found
        if path.is_file() and path.suffix != ".jsonl" and path.stat().st_size < FILE_BYTES_MAX
    ]
    return [*SAMPLES.values(), *real]


ORIGINALS = originals()
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(("change", "cut", "repeat", "insert", "move")),
        st.integers(0, FILE_BYTES_MAX),
        st.integers(1, 300),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, mutations: list[Mutation]) -> bytes:
    changed = bytearray(data)
    for kind, offset, length, raw in mutations:
        place = offset % max(1, len(changed))
        piece = bytes(changed[place : place + length])
        if kind == "change":
            changed[place : place + len(raw)] = raw
        elif kind == "cut":
            del changed[place : place + length]
        elif kind == "repeat":
            changed[place:place] = piece * 3
        elif kind == "insert":
            changed[place:place] = raw
        else:
            del changed[place : place + length]
            changed.extend(piece)
    return bytes(changed)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(original=st.integers(0, len(ORIGINALS) - 1), mutations=MUTATIONS)
def test_a_mutated_file_has_facts_or_a_reason(original: int, mutations: list[Mutation]) -> None:
    data = mutate(ORIGINALS[original], mutations)
    try:
        facts = read_image(io.BytesIO(data), len(data), "mutated")
    except UnreadableImage as error:
        assert str(error)
        assert "failed" not in str(error)
        return
    assert facts.width > 0
    assert facts.height > 0
    problem = facts.metadata.problem or ""
    assert "failed" not in problem
    assert len(problem) <= PROBLEM_CHARACTERS_MAX
