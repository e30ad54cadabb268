"""Resolves `input:` of a job to images, in order. The result is stored with the job: a restart changes nothing.

To add a method, write a function here with a row in `_METHODS`, and its key in `indexd_schemas/jobs/input_selection.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from indexd.characters.sampling import take_sample
from indexd.errors import IndexdError, raise_if_transient
from indexd.jobs.admission.inputs import InputImage, check_inside_inbox, read_input_image, resolve_inbox_path
from indexd.jobs.parsing.validation import FieldError, format_path
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.search.query.image_lookup import find_image_row
from indexd.search.query.image_target import ImageTarget, format_target, parse_target_argument
from indexd.search.search import Search
from indexd.store.protocols import IndexStore
from indexd.watch.watch_filter import has_image_suffix
from indexd.worker.calls import Embedded, EmbedImages, EmbedText, FacesFound, FindFaces
from indexd_schemas.api.characters import SampleRequest
from indexd_schemas.api.requests import SearchRequest, SearchTerm
from indexd_schemas.jobs.input_selection import InputSelection
from indexd_schemas.validation_messages import quote_value

INPUT_PATH = ("input",)
SIMILAR_COUNT = 20
SAMPLE_COUNT = 20


class InputSelector:
    """Selects images. Admission never waits for a model, so similarity compares stored vectors only."""

    def __init__(self, store: IndexStore, inbox: Path, limit: int) -> None:
        self._store = store
        self._search = Search(store, _NoModels())
        self._inbox = inbox
        self._limit = limit

    def select(self, selection: InputSelection) -> list[InputImage]:
        """The selected images, each read now. Raises FieldError when there are none or too many."""
        assert selection.method is not None  # the schema holds it
        paths = _METHODS[selection.method](self, selection)
        if not paths:
            raise FieldError(INPUT_PATH, f"input: {_describe(selection, 'no image')}")
        if selection.count is not None:
            paths = paths[: selection.count]
        if len(paths) > self._limit:
            raise FieldError(
                INPUT_PATH,
                f"input: {_describe(selection, f'more than {self._limit} images')} ([generate] max_images_per_job); "
                "take fewer with `count`",
            )
        return [read_input_image(path, INPUT_PATH) for path in paths]

    def resolve_path(self, text: str, key: FieldPath = INPUT_PATH) -> Path:
        """The path of an image named by path, `#id` or content hash. Raises FieldError."""
        path = resolve_inbox_path(self._inbox, text, key)
        target = parse_target_argument(text)
        if os.path.lexists(path) or target.path is not None:
            return path
        return self._indexed_path(target, quote_value(text), key)

    def _indexed_path(self, target: ImageTarget, what: str, key: FieldPath) -> Path:
        row = find_image_row(self._store, target)
        place = self._store.images.paths([row.id]).get(row.id) if row is not None else None
        if place is None:
            reason = "is not in the index" if row is None else "is in the index, but no file of it exists"
            raise FieldError(key, f"{format_path(key)}: {what} {reason}")
        return Path(os.fsdecode(place))

    def _select_files(self, selection: InputSelection) -> list[Path]:
        return [self.resolve_path(text) for text in selection.files or ()]

    def _select_folder(self, selection: InputSelection) -> list[Path]:
        folder = resolve_inbox_path(self._inbox, selection.folder or "", INPUT_PATH)
        if not folder.is_dir():
            raise FieldError(INPUT_PATH, f"input: there is no folder {folder}")
        found: list[Path] = []
        for here, below, names in os.walk(folder, onerror=raise_if_transient):
            below[:] = sorted(name for name in below if selection.recursive and not name.startswith("."))
            images = (
                name for name in sorted(names) if has_image_suffix(os.fsencode(name)) and not name.startswith(".")
            )
            found += [Path(here, name) for name in images]
            if len(found) > self._limit:
                break
        for path in found:
            check_inside_inbox(self._inbox, path, path.name, INPUT_PATH)
        return found

    def _select_query(self, selection: InputSelection) -> list[Path]:
        limit = min(selection.count or self._limit + 1, self._limit + 1)
        return self._run_search(SearchRequest(filters=(selection.query or "",), sort=selection.sort, limit=limit))

    def _select_similar(self, selection: InputSelection) -> list[Path]:
        text = selection.similar or ""
        path = resolve_inbox_path(self._inbox, text, INPUT_PATH)
        target = (
            ImageTarget(path=os.fsencode(os.path.abspath(path)))
            if os.path.lexists(path)
            else parse_target_argument(text)
        )
        return self._run_search(
            SearchRequest(
                terms=(SearchTerm(kind="similar", value=format_target(target)),),
                filters=(selection.query,) if selection.query else (),
                limit=min(selection.count or SIMILAR_COUNT, self._limit + 1),
            )
        )

    def _select_character(self, selection: InputSelection) -> list[Path]:
        request = SampleRequest(
            character=selection.character,
            filters=(selection.query,) if selection.query else (),
            strategy=selection.sample or "diverse",
            count=min(selection.count or SAMPLE_COUNT, self._limit + 1),
        )
        try:
            ids = [sample.image_id for sample in take_sample(self._store, request).images]
        except IndexdError as error:
            raise FieldError(INPUT_PATH, f"input: {error}") from None
        places = self._store.images.paths(ids)
        return _to_paths(places[image_id] for image_id in ids if image_id in places)

    def _run_search(self, request: SearchRequest) -> list[Path]:
        try:
            ids = [hit.image.id for hit in self._search.query(request).hits]
        except IndexdError as error:
            raise FieldError(INPUT_PATH, f"input: {error}") from None
        places = self._store.images.paths(ids)
        return _to_paths(places[image_id] for image_id in ids if image_id in places)


_METHODS: Mapping[str, Callable[[InputSelector, InputSelection], list[Path]]] = {
    "files": InputSelector._select_files,
    "folder": InputSelector._select_folder,
    "query": InputSelector._select_query,
    "similar": InputSelector._select_similar,
    "character": InputSelector._select_character,
}


class _NoModels:
    """An embedder that has no models."""

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        raise IndexdError(f"the index has no vector of this image yet ({call.role})")

    def find_faces(self, _call: FindFaces) -> FacesFound:
        raise IndexdError("faces are not looked for here")

    def unavailable_reason(self, _role: str) -> str | None:
        return None


def _to_paths(places: Iterable[bytes]) -> list[Path]:
    return [Path(os.fsdecode(place)) for place in places]


def _describe(selection: InputSelection, count: str) -> str:
    """How many images the selection finds, as a sentence; `count` is the number with its noun."""
    if selection.method == "files":
        return f"the list names {count}"
    value = quote_value(getattr(selection, selection.method or ""))
    sentences = {
        "folder": f"the folder {value} has {count}",
        "query": f"the query {value} finds {count}",
        "similar": f"the search for images like {value} finds {count}",
        "character": f"the character {value} appears in {count}",
    }
    return sentences[selection.method or ""]
