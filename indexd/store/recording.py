"""Writing a batch of sightings: image, child rows, raw metadata, full text, file and work, in the caller's transaction."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from indexd.images.facts import ImageFacts, Metadata
from indexd.store.counting import last_image_id
from indexd.store.database import Connection
from indexd.store.merging import take_waiting
from indexd.store.records import Recorded, Sighting
from indexd.store.succession import note_successions
from indexd.store.texts import INSERT_TEXT, file_name, refresh_texts
from indexd.store.values import canonical_seed, display, plain_text, real, signed, whole

# A 4 KB workflow deflates in 60 us at this level; higher levels save 3 % more and double that.
DEFLATE_LEVEL = 3

# fmt: off
_IMAGE_COLUMNS = (
    "id", "content_hash", "byte_count", "format", "width", "height", "frame_count", "added_at", "created_at",
    "generator", "generator_version", "source", "is_ai", "seed", "steps", "cfg", "sampler", "schedule",
    "denoise", "clip_skip", "model_name", "model_hash", "vae", "gen_width", "gen_height", "job", "input_hash",
    "parser_version", "parse_problem",
)
# fmt: on


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERTS = {
    "image": _insert("image", _IMAGE_COLUMNS),
    "image_text": _insert("image_text", ("image_id", "prompt", "negative_prompt", "raw_prompt", "extras")),
    "raw_chunk": _insert("raw_chunk", ("image_id", "position", "key", "encoding", "text")),
    "lora_use": _insert("lora_use", ("image_id", "position", "name", "weight", "text_weight", "hash")),
    "control_use": _insert("control_use", ("image_id", "position", "model", "module", "weight", "start_at", "end_at")),
    "sampler_pass": _insert(
        "sampler_pass",
        ("image_id", "position", "seed", "steps", "cfg", "sampler", "schedule", "denoise", "model_name"),
    ),
    "prompt_fts": INSERT_TEXT,
    "work": "INSERT OR IGNORE INTO work (image_id, stage) VALUES (?, ?)",
}

_UPSERT_FILE = """
INSERT INTO file (root_id, rel, display, size, mtime_ns, inode, image_id, problem) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (root_id, rel) DO UPDATE SET
    size = excluded.size, mtime_ns = excluded.mtime_ns, inode = excluded.inode, image_id = excluded.image_id,
    problem = excluded.problem, missing_since = NULL, was_image_id = coalesce(file.image_id, file.was_image_id)
"""

Row = tuple[Any, ...]


class Recording:
    """One batch. Rows of new images are gathered and written table by table; files go one by one in the order seen."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._rows: dict[str, list[Row]] = {table: [] for table in _INSERTS}
        self._files: list[Row] = []
        self._ids: dict[bytes, int] = {}
        self._stale_texts: set[int] = set()
        self._successions: list[tuple[int, int]] = []
        self._tagging_roots = {row[0] for row in connection.execute("SELECT id FROM root WHERE folder_tags")}
        self._next_id = last_image_id(connection) + 1

    def run(self, sightings: Sequence[Sighting]) -> list[Recorded]:
        """Write everything; the outcomes are in the order of `sightings`."""
        outcomes = [self._sighting(sighting) for sighting in sightings]
        for table, rows in self._rows.items():
            self._connection.executemany(_INSERTS[table], rows)
        self._connection.executemany(_UPSERT_FILE, self._files)
        refresh_texts(self._connection, self._stale_texts)
        take_waiting(self._connection, self._ids)
        note_successions(self._connection, self._successions)
        return outcomes

    def _sighting(self, sighting: Sighting) -> Recorded:
        facts = sighting.facts
        if facts is None:
            problem = plain_text(sighting.problem) or "could not be read"
            self._file(sighting, None, problem)
            return Recorded(None, "problem")
        known = self._known(facts.content_hash)
        if known is not None:
            if self._file(sighting, known, None):
                self._stale_texts.add(known)
            return Recorded(known, "known")
        image_id = self._next_id
        self._next_id += 1
        self._ids[facts.content_hash] = image_id
        self._image(image_id, sighting, facts)
        self._file(sighting, image_id, None)
        return Recorded(image_id, "new")

    def _known(self, content_hash: bytes) -> int | None:
        if content_hash in self._ids:
            return self._ids[content_hash]
        row = self._connection.execute("SELECT id FROM image WHERE content_hash = ?", (content_hash,)).fetchone()
        return row[0] if row else None

    def _file(self, sighting: Sighting, image_id: int | None, problem: str | None) -> bool:
        """Note where the sighting lies. Returns whether that place held another content (or nothing) before."""
        before = self._connection.execute(
            "SELECT image_id, was_image_id FROM file WHERE root_id = ? AND rel = ?", (sighting.root_id, sighting.rel)
        ).fetchone()
        stamp = sighting.stamp
        self._files.append(
            (
                sighting.root_id,
                sighting.rel,
                display(sighting.rel),
                stamp.size,
                stamp.mtime_ns,
                signed(stamp.inode),
                image_id,
                problem,
            )
        )
        if before is not None and before[0] is not None and before[0] != image_id:
            self._stale_texts.add(before[0])
        if before is not None and image_id is not None:
            # A file caught half-written stood there as a problem in between: what lay there before that counts.
            old = before[0] if before[0] is not None else before[1]
            if old is not None and old != image_id:
                self._successions.append((old, image_id))
        if image_id is not None and sighting.root_id in self._tagging_roots:
            self._stale_texts.add(image_id)
        return before is None or before[0] != image_id

    def _image(self, image_id: int, sighting: Sighting, facts: ImageFacts) -> None:
        metadata = facts.metadata
        created_at = real(metadata.created_at)
        rows = self._rows
        rows["image"].append(
            (
                image_id,
                facts.content_hash,
                facts.byte_count,
                facts.format,
                facts.width,
                facts.height,
                facts.frame_count,
                self._now,
                sighting.stamp.mtime_ns / 1e9 if created_at is None else created_at,
                *_stated(metadata),
            )
        )
        prompt, negative = plain_text(metadata.prompt), plain_text(metadata.negative_prompt)
        rows["image_text"].append((image_id, prompt, negative, plain_text(metadata.raw_prompt), _extras(metadata)))
        rows["prompt_fts"].append((image_id, prompt or "", negative or "", file_name(display(sighting.rel))))
        rows["work"] += ((image_id, stage) for stage in sighting.stages)
        for table, children in _children(metadata):
            rows[table] += ((image_id, position, *values) for position, values in enumerate(children))


def _stated(metadata: Metadata) -> Row:
    """The columns of `image` from `generator` to the end."""
    return (
        plain_text(metadata.generator),
        plain_text(metadata.generator_version),
        plain_text(metadata.source),
        plain_text(metadata.is_ai),
        canonical_seed(metadata.seed),
        whole(metadata.steps),
        real(metadata.cfg),
        plain_text(metadata.sampler),
        plain_text(metadata.schedule),
        real(metadata.denoise),
        whole(metadata.clip_skip),
        plain_text(metadata.model_name),
        plain_text(metadata.model_hash),
        plain_text(metadata.vae),
        whole(metadata.gen_width),
        whole(metadata.gen_height),
        plain_text(metadata.job),
        plain_text(metadata.input_hash),
        metadata.parser_version,
        plain_text(metadata.problem),
    )


def _extras(metadata: Metadata) -> str | None:
    return json.dumps([list(pair) for pair in metadata.extras]) if metadata.extras else None


def _children(metadata: Metadata) -> Iterator[tuple[str, list[Row]]]:
    yield (
        "raw_chunk",
        [
            (
                plain_text(chunk.key),
                plain_text(chunk.encoding),
                zlib.compress(chunk.text.encode("utf-8", "surrogatepass"), DEFLATE_LEVEL),
            )
            for chunk in metadata.raw
        ],
    )
    yield (
        "lora_use",
        [
            (plain_text(use.name), real(use.weight), real(use.text_weight), plain_text(use.hash))
            for use in metadata.loras
        ],
    )
    yield (
        "control_use",
        [
            (plain_text(use.model), plain_text(use.module), real(use.weight), real(use.start), real(use.end))
            for use in metadata.controls
        ],
    )
    yield (
        "sampler_pass",
        [
            (
                canonical_seed(one.seed),
                whole(one.steps),
                real(one.cfg),
                plain_text(one.sampler),
                plain_text(one.schedule),
                real(one.denoise),
                plain_text(one.model_name),
            )
            for one in metadata.passes
        ],
    )
