"""Annotations of images: ratings, tags, notes. They belong to the content, so a move or a copy keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from indexd.image_metadata.model import PhotoAnnotations
from indexd.store.protocols.annotations import AnnotationRepository
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.annotations.suggestions import set_suggestion_mode, store_suggestions
from indexd.store.sqlite.annotations.tags import TagSpelling, normalize_tag
from indexd.store.sqlite.database import Database
from indexd.store.sqlite.filters.condition_builders import compile_pattern
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd_schemas.settings import SuggestionMode

_SELECT_EXISTING = "SELECT id FROM image WHERE id IN (SELECT value FROM json_each(?))"


class Annotations(AnnotationRepository):
    """Each method skips unknown ids, returns the number of images, and syncs to the disk before it returns."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def rate(self, ids: Iterable[int], rating: int) -> int:
        if not 0 <= rating <= 5:
            raise ValueError(f"a rating is 0 to 5, not {rating}")
        wanted = ids_json(ids)
        with self._database.write(durable=True) as connection:
            known = connection.execute(_SELECT_EXISTING, (wanted,)).fetchall()
            if rating:
                connection.executemany(
                    "INSERT OR REPLACE INTO rating (image_id, value, rated_at) VALUES (?, ?, ?)",
                    [(image_id, rating, self._clock()) for (image_id,) in known],
                )
            else:
                connection.executemany("DELETE FROM rating WHERE image_id = ?", known)
        return len(known)

    def tag(self, ids: Iterable[int], add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
        wanted = ids_json(ids)
        with self._database.write(durable=True) as connection:
            known = [image_id for (image_id,) in connection.execute(_SELECT_EXISTING, (wanted,)).fetchall()]
            spelling = TagSpelling(connection)
            removed = [compile_pattern(name) for name in map(normalize_tag, remove) if name]
            for (name,) in connection.execute("SELECT DISTINCT name FROM tag").fetchall() if removed else ():
                if any(matches(name) for matches in removed):
                    connection.executemany(
                        "DELETE FROM tag WHERE image_id = ? AND name = ?", [(image_id, name) for image_id in known]
                    )
            for name in filter(None, map(normalize_tag, add)):
                connection.executemany(
                    "INSERT OR IGNORE INTO tag (image_id, name) VALUES (?, ?)",
                    [(image_id, spelling.canonical(name)) for image_id in known],
                )
            refresh_fulltext(connection, known)
        return len(known)

    def set_suggestion_mode(self, mode: SuggestionMode) -> None:
        set_suggestion_mode(self._database, mode)

    def suggest(self, stated: Mapping[int, PhotoAnnotations], mode: SuggestionMode) -> None:
        with self._database.write() as connection:
            known = connection.execute(_SELECT_EXISTING, (ids_json(stated),)).fetchall()
            store_suggestions(connection, {image_id: {"file": stated[image_id]} for (image_id,) in known}, mode)

    def note(self, ids: Iterable[int], text: str | None, *, append: bool = False) -> int:
        wanted = ids_json(ids)
        with self._database.write(durable=True) as connection:
            known = [image_id for (image_id,) in connection.execute(_SELECT_EXISTING, (wanted,)).fetchall()]
            before: dict[int, str] = {}
            if append:
                before = dict(
                    connection.execute(
                        "SELECT image_id, text FROM note WHERE image_id IN (SELECT value FROM json_each(?))", (wanted,)
                    )
                )
            if text:
                plain, now = utf8_text(text), self._clock()
                connection.executemany(
                    "INSERT OR REPLACE INTO note (image_id, text, noted_at) VALUES (?, ?, ?)",
                    [
                        (image_id, f"{before[image_id]}\n{plain}" if image_id in before else plain, now)
                        for image_id in known
                    ],
                )
            elif not append:
                connection.executemany("DELETE FROM note WHERE image_id = ?", [(image_id,) for image_id in known])
        return len(known)
