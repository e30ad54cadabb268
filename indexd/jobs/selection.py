"""`input:` of a job -> the pictures it means now, in order. What is chosen here is fixed: a restart changes nothing.

Adding a way of choosing = a function here and a row in `_WAYS`, beside the key in `indexd_schemas/selection.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from indexd.characters.sampling import take_sample
from indexd.errors import IndexdError, raise_machines_fault
from indexd.jobs.diagnose import FieldProblem, dotted, shown
from indexd.jobs.inputs import InputPicture, Place, hold_inside, inbox_path, input_picture
from indexd.search.find import find_row
from indexd.search.run import Search
from indexd.search.targets import Target, parse_argument, to_text
from indexd.store.index import Store
from indexd.worker.calls import Embedded, EmbedImages, EmbedText, FacesFound, FindFaces
from indexd_schemas.characters import SampleQuestion
from indexd_schemas.question import Question, Term
from indexd_schemas.selection import Selection

KEY = ("input",)
SIMILAR_COUNT = 20
SAMPLE_COUNT = 20
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


class Selector:
    """Chooses pictures. Admission may not wait for a model, so likeness is asked of stored vectors alone."""

    def __init__(self, store: Store, inbox: Path, limit: int) -> None:
        self._store = store
        self._search = Search(store, _StoredOnly())
        self._inbox = inbox
        self._limit = limit

    def pictures(self, wanted: Selection) -> list[InputPicture]:
        """The pictures that are meant, each read now. Raises FieldProblem when there are none, or too many."""
        assert wanted.way is not None  # the schema holds it
        paths = _WAYS[wanted.way](self, wanted)
        if not paths:
            raise FieldProblem(KEY, f"input: {_what(wanted)} is no picture at all; nothing could be made")
        if wanted.count is not None:
            paths = paths[: wanted.count]
        if len(paths) > self._limit:
            raise FieldProblem(
                KEY,
                f"input: {_what(wanted)} is more than {self._limit} pictures ([generate] max_pictures_per_job); "
                "take fewer with `count`",
            )
        return [input_picture(path, KEY) for path in paths]

    def file(self, text: str, key: Place = KEY) -> Path:
        """Where a picture lies that is named by path, `#id` or content hash. Raises FieldProblem."""
        path = inbox_path(self._inbox, text, key)
        target = parse_argument(text)
        if os.path.lexists(path) or target.path is not None:
            return path
        return self._place(target, shown(text), key)

    def _place(self, target: Target, what: str, key: Place) -> Path:
        row = find_row(self._store, target)
        place = self._store.images.paths([row.id]).get(row.id) if row is not None else None
        if place is None:
            reason = "is not in the index" if row is None else "is in the index, and lies nowhere now"
            raise FieldProblem(key, f"{dotted(key)}: {what} {reason}")
        return Path(os.fsdecode(place))

    def _files(self, wanted: Selection) -> list[Path]:
        return [self.file(text) for text in wanted.files or ()]

    def _folder(self, wanted: Selection) -> list[Path]:
        folder = inbox_path(self._inbox, wanted.folder or "", KEY)
        if not folder.is_dir():
            raise FieldProblem(KEY, f"input: there is no folder {folder}")
        found: list[Path] = []
        for here, below, names in os.walk(folder, onerror=raise_machines_fault):
            below[:] = sorted(name for name in below if wanted.recursive and not name.startswith("."))
            pictures = (name for name in sorted(names) if name.lower().endswith(ENDINGS) and not name.startswith("."))
            found += [Path(here, name) for name in pictures]
            if len(found) > self._limit:
                break
        for path in found:
            hold_inside(self._inbox, path, path.name, KEY)
        return found

    def _query(self, wanted: Selection) -> list[Path]:
        limit = min(wanted.count or self._limit + 1, self._limit + 1)
        return self._asked(Question(filters=(wanted.query or "",), sort=wanted.sort, limit=limit))

    def _similar(self, wanted: Selection) -> list[Path]:
        text = wanted.similar or ""
        path = inbox_path(self._inbox, text, KEY)
        target = Target(path=os.fsencode(os.path.abspath(path))) if os.path.lexists(path) else parse_argument(text)
        return self._asked(
            Question(
                terms=(Term(kind="similar", value=to_text(target)),),
                filters=(wanted.query,) if wanted.query else (),
                limit=min(wanted.count or SIMILAR_COUNT, self._limit + 1),
            )
        )

    def _character(self, wanted: Selection) -> list[Path]:
        question = SampleQuestion(
            character=wanted.character,
            filters=(wanted.query,) if wanted.query else (),
            strategy=wanted.sample or "diverse",
            count=min(wanted.count or SAMPLE_COUNT, self._limit + 1),
        )
        try:
            ids = [picture.image_id for picture in take_sample(self._store, question).pictures]
        except IndexdError as error:
            raise FieldProblem(KEY, f"input: {error}") from None
        places = self._store.images.paths(ids)
        return _paths(places[image_id] for image_id in ids if image_id in places)

    def _asked(self, question: Question) -> list[Path]:
        try:
            ids = [hit.image.id for hit in self._search.query(question).hits]
        except IndexdError as error:
            raise FieldProblem(KEY, f"input: {error}") from None
        places = self._store.images.paths(ids)
        return _paths(places[image_id] for image_id in ids if image_id in places)


_WAYS: Mapping[str, Callable[[Selector, Selection], list[Path]]] = {
    "files": Selector._files,
    "folder": Selector._folder,
    "query": Selector._query,
    "similar": Selector._similar,
    "character": Selector._character,
}


class _StoredOnly:
    """An embedder that has no models."""

    def __call__(self, call: EmbedText | EmbedImages) -> Embedded:
        raise IndexdError(f"the look of this picture is not in the index yet ({call.role})")

    def find_faces(self, _call: FindFaces) -> FacesFound:
        raise IndexdError("faces are not looked for here")

    def off(self, _role: str) -> str | None:
        return None


def _paths(places: Iterable[bytes]) -> list[Path]:
    return [Path(os.fsdecode(place)) for place in places]


def _what(wanted: Selection) -> str:
    """The selection as it is quoted in a sentence."""
    if wanted.way == "files":
        return "the list"
    value = shown(getattr(wanted, wanted.way or ""))
    ways = {
        "folder": f"the folder {value}",
        "query": f"what the query {value} finds",
        "similar": f"what is similar to {value}",
        "character": f"what shows the character {value}",
    }
    return ways[wanted.way or ""]
