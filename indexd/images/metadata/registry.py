"""One registry of format readers, and the way from the raw texts of a file to its metadata.

A reader is a function `read(texts) -> Metadata | None` in a file of its own, registered with `@reads("name", rank=N)`.
It answers None when the texts are not of its format. Readers are asked in the order of their ranks; the first answer
is the metadata, and a ComfyUI graph in the same file fills in what that answer does not state.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from indexd.images.facts import Metadata, RawChunk
from indexd.images.metadata import values
from indexd.registry import AlreadyRegistered

log = logging.getLogger(__name__)

PARSER_VERSION = 1
"""Raise it when a reader answers better than before: pictures read by an older version can be read again from their texts."""

EXTRAS_MAX = 200


WRAPPERS = ("exif:UserComment", "jpeg:comment", "stealth:parameters", "exif:ImageDescription", "gif:comment")
"""Where programs without named chunks (JPEG, WebP, stealth) put one JSON object with what PNG keeps in several chunks."""

_WRAPPED_JSON = (
    "prompt",
    "workflow",
    "parameters",
    "parameters-json",
    "generation_data",
    "invokeai_metadata",
    "sd-metadata",
    "indexd",
    "Comment",
)
_WRAPPED_TEXT = ("Description", "Source", "Software", "Title")


_ANY_CASE = {
    name.lower(): name
    for name in (
        "png:parameters",
        "png:prompt",
        "png:workflow",
        "png:generation_data",
        "png:invokeai_metadata",
        "png:Dream",
    )
}
"""Chunks whose name some programs write in another case."""


class Texts:
    """The raw texts of one file by key, each parsed as JSON at most once.

    What a JSON object in one of WRAPPERS holds under the name of a PNG chunk is found as if it were that chunk.
    """

    def __init__(self, chunks: Sequence[RawChunk]) -> None:
        self.chunks = tuple(chunks)
        self._by_key: dict[str, str] = {}
        for chunk in self.chunks:
            self._by_key.setdefault(chunk.key, chunk.text)
        for key, text in list(self._by_key.items()):
            if (usual := _ANY_CASE.get(key.lower())) is not None:
                self._by_key.setdefault(usual, text)
        self._parsed: dict[str, Any] = {}
        for key in WRAPPERS:
            if key in self._by_key and isinstance(wrapper := self.parsed(key), dict):
                self._unwrap(wrapper)

    def get(self, key: str) -> str | None:
        """The first text under this key."""
        return self._by_key.get(key)

    @property
    def names(self) -> tuple[str, ...]:
        """Every key, in file order."""
        return tuple(self._by_key)

    def parsed(self, key: str) -> Any:
        """The JSON value of the text under this key, or None."""
        if key not in self._parsed:
            self._parsed[key] = values.json_of(self._by_key.get(key, ""))
        return self._parsed[key]

    def record(self, *keys: str) -> dict[str, Any]:
        """The first JSON object among the texts under these keys; empty where there is none."""
        for key in keys:
            if isinstance(found := self.parsed(key), dict):
                return found
        return {}

    @property
    def has_graph(self) -> bool:
        """Whether the file carries a ComfyUI prompt graph beside its other texts."""
        return bool(self.record("png:prompt"))

    def _unwrap(self, wrapper: dict[str, Any]) -> None:
        for name in _WRAPPED_JSON:
            value = wrapper.get(name)
            key = f"png:{name}"
            if key in self._by_key:
                continue
            if isinstance(value, dict):
                self._by_key[key] = ""
                self._parsed[key] = value
            elif isinstance(value, str) and value.lstrip()[:1] == "{":
                self._by_key[key] = value
        if "png:Comment" in self._by_key:
            for name in _WRAPPED_TEXT:
                if isinstance(value := wrapper.get(name), str):
                    self._by_key.setdefault(f"png:{name}", value)


Read = Callable[[Texts], Metadata | None]


@dataclass(frozen=True, slots=True)
class Reader:
    """One registered format. `fills` = its answer also completes the answer of a reader before it."""

    name: str
    rank: int
    read: Read
    fills: bool


_readers: dict[str, Reader] = {}


def reads(name: str, *, rank: int, fills: bool = False) -> Callable[[Read], Read]:
    """A decorator that makes the function the one reader of a format. Raises AlreadyRegistered naming both."""

    def add(read: Read) -> Read:
        known = _readers.get(name)
        if known is not None and known.read.__module__ != read.__module__:
            raise AlreadyRegistered(f"format {name!r} is read by {known.read.__module__} and by {read.__module__}")
        _readers[name] = Reader(name, rank, read, fills)
        return read

    return add


def readers() -> tuple[Reader, ...]:
    """Every registered reader in the order in which they are asked."""
    return tuple(sorted(_readers.values(), key=lambda reader: (reader.rank, reader.name)))


def parse(chunks: Sequence[RawChunk], problems: Sequence[str] = ()) -> Metadata:
    """The metadata that the raw texts of a file state. Never raises; what could not be read is named in `problem`."""
    texts = Texts(chunks)
    found: Metadata | None = None
    troubles = list(problems)
    for reader in readers() if chunks else ():
        if found is not None and not reader.fills:
            continue
        try:
            answer = reader.read(texts)
        except Exception as error:
            # One file must never stop the daemon, and the traceback is what repairs the reader.
            log.exception("the reader of %s failed", reader.name)
            troubles.append(f"the reader of {reader.name} failed: {type(error).__name__}")
            continue
        if answer is not None:
            found = answer if found is None else _completed(found, answer)
    metadata = found or Metadata()
    cleaned: Metadata = _cleaned(metadata)
    return replace(cleaned, raw=texts.chunks, problem="; ".join(troubles) or None, parser_version=PARSER_VERSION)


def _completed(first: Metadata, second: Metadata) -> Metadata:
    """The first answer with its gaps filled from the second; who made the picture stays as the first says."""
    gaps: dict[str, Any] = {}
    for field in dataclasses.fields(Metadata):
        if field.name not in ("generator", "generator_version", "source", "extras", "raw", "problem"):
            stated = getattr(first, field.name)
            if stated is None or stated == ():
                gaps[field.name] = getattr(second, field.name)
    return replace(first, **gaps)


def _cleaned(value: Any) -> Any:
    """The same record with every text storable: no lone surrogates, no NULs (JSON escapes can make both)."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            value = value.encode("utf-8", "replace").decode("utf-8")
        return value.replace("\0", "") if "\0" in value else value
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value[:EXTRAS_MAX])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: _cleaned(getattr(value, field.name)) for field in dataclasses.fields(value)}
        )
    return value
