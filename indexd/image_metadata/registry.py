"""The registry of format readers. Turns the raw texts of a file into its metadata.

A reader is a function `read(texts) -> ImageMetadata | None`, registered with `@register_reader("name", rank=N)`.
It returns None if the texts are not of its format. Readers run in the order of their ranks. The first result is the
metadata; a ComfyUI graph in the same file fills the gaps.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from indexd.image_metadata import coerce
from indexd.image_metadata.budget import PROBLEM_CHARACTERS_MAX, ReadBudget, add_problem
from indexd.image_metadata.creation_date import find_creation_date
from indexd.image_metadata.errors import DuplicateReader
from indexd.image_metadata.model import PARSER_VERSION, ImageMetadata, RawChunk
from indexd.image_metadata.sanitize import sanitize

log = logging.getLogger(__name__)

WRAPPER_KEYS = (
    "exif:UserComment",
    "jpeg:comment",
    "stealth:parameters",
    "exif:ImageDescription",
    "gif:comment",
    "video:comment",
)
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
_VIDEO_PREFIX = "video:"
_WRAPPED_TEXT = ("Description", "Source", "Software", "Title")


_CANONICAL_KEYS = {
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


class MetadataTexts:
    """The raw texts of one file by key, each parsed as JSON at most once, within one budget.

    What a JSON object under one of WRAPPER_KEYS holds under the name of a PNG chunk is found as if it were that chunk.
    `image_size` is (width, height) of the file in pixels, None where it is not known.
    """

    def __init__(self, chunks: Sequence[RawChunk], image_size: tuple[int, int] | None = None) -> None:
        self.chunks = tuple(chunks)
        self.image_size = image_size
        self.budget = ReadBudget()
        self._by_key: dict[str, str] = {}
        for chunk in self.chunks:
            self._by_key.setdefault(chunk.key, chunk.text)
        for key, text in list(self._by_key.items()):
            # ComfyUI and ffmpeg name the tags of a video as ComfyUI names the chunks of a PNG.
            if key.startswith(_VIDEO_PREFIX):
                self._by_key.setdefault(f"png:{key.removeprefix(_VIDEO_PREFIX)}", text)
            if (usual := _CANONICAL_KEYS.get(key.lower())) is not None:
                self._by_key.setdefault(usual, text)
        self._parsed: dict[str, Any] = {}
        for key in WRAPPER_KEYS:
            if key in self._by_key and isinstance(wrapper := self.parsed_json(key), dict):
                self._unwrap(wrapper)

    def get(self, key: str) -> str | None:
        """The first text under this key."""
        return self._by_key.get(key)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key, in file order."""
        return tuple(self._by_key)

    def parsed_json(self, key: str) -> Any:
        """The JSON value of the text under this key, or None."""
        if key not in self._parsed:
            self._parsed[key] = self.parse(self._by_key.get(key, ""))
        return self._parsed[key]

    def parse(self, text: str) -> Any:
        """The JSON value of a part of a text, or None; not remembered."""
        return coerce.parse_json(text, self.budget)

    def json_object(self, *keys: str) -> dict[str, Any]:
        """The first JSON object among the texts under these keys; empty where there is none."""
        for key in keys:
            if isinstance(found := self.parsed_json(key), dict):
                return found
        return {}

    @property
    def has_comfyui_graph(self) -> bool:
        """Whether the file carries a ComfyUI prompt graph beside its other texts."""
        return bool(self.json_object("png:prompt"))

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


ReadFunction = Callable[[MetadataTexts], ImageMetadata | None]


@dataclass(frozen=True, slots=True)
class FormatReader:
    """One registered format. `fills_gaps`: its result also fills the gaps of an earlier reader's result."""

    name: str
    rank: int
    read: ReadFunction
    fills_gaps: bool


_readers: dict[str, FormatReader] = {}


def register_reader(name: str, *, rank: int, fills_gaps: bool = False) -> Callable[[ReadFunction], ReadFunction]:
    """A decorator that makes the function the one reader of a format. Raises DuplicateReader naming both."""

    def add(read: ReadFunction) -> ReadFunction:
        known = _readers.get(name)
        if known is not None and known.read.__module__ != read.__module__:
            raise DuplicateReader(f"format {name!r} is read by {known.read.__module__} and by {read.__module__}")
        _readers[name] = FormatReader(name, rank, read, fills_gaps)
        return read

    return add


def registered_readers() -> tuple[FormatReader, ...]:
    """Every registered reader in the order in which they are asked."""
    return tuple(sorted(_readers.values(), key=lambda reader: (reader.rank, reader.name)))


def parse_metadata(
    chunks: Sequence[RawChunk], problems: Sequence[str] = (), image_size: tuple[int, int] | None = None
) -> ImageMetadata:
    """Return the metadata that the raw texts of a file state.

    `image_size` is (width, height) of the file in pixels. Never raises; what could not be read is named in `problem`.
    """
    # The daemon loads this module, but not the XML parser.
    from indexd.image_metadata.photo_annotations import find_photo_annotations

    texts = MetadataTexts(chunks, image_size)
    found: ImageMetadata | None = None
    all_problems: list[str] = []
    for problem in problems:
        add_problem(all_problems, problem)
    for reader in registered_readers() if chunks else ():
        if found is not None and not reader.fills_gaps:
            continue
        try:
            answer = reader.read(texts)
        except MemoryError:
            raise  # the file takes more than is allowed; the caller says so
        except Exception as error:
            # A bug in one reader costs one answer; the traceback is what repairs it.
            log.exception("the reader of %s failed", reader.name)
            add_problem(all_problems, f"the reader of {reader.name} failed: {type(error).__name__}")
            continue
        if answer is not None:
            found = answer if found is None else fill_gaps(found, answer)
    if texts.budget.is_json_refused:
        add_problem(all_problems, "a text of the file has more JSON values than are read")
    metadata = sanitize(found or ImageMetadata())
    if metadata.created_at is None and (date := find_creation_date(texts, metadata)) is not None:
        metadata = replace(metadata, created_at=date.start, created_until=date.end, created_from=date.source)
    return replace(
        metadata,
        annotations=find_photo_annotations(texts),
        raw=texts.chunks,
        problem="; ".join(all_problems)[:PROBLEM_CHARACTERS_MAX] or None,
        parser_version=PARSER_VERSION,
    )


def fill_gaps(primary: ImageMetadata, secondary: ImageMetadata) -> ImageMetadata:
    """The first answer with its gaps filled from the second; the generator stays as the first says."""
    gaps: dict[str, Any] = {}
    for field in dataclasses.fields(ImageMetadata):
        if field.name not in ("generator", "generator_version", "source", "extras", "raw", "problem"):
            stated = getattr(primary, field.name)
            if stated is None or stated == ():
                gaps[field.name] = getattr(secondary, field.name)
    return replace(primary, **gaps)
