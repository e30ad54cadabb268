"""Ratings and keywords of other programs: stored as attributes of their own sources, and taken over where the settings say so.

A taken rating has the time 0, so every rating of a person is later and overrules it. Only what is new since the last reading
is taken: a tag or rating that a person removed does not come back with the next reading of the same file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice

from indexd.image_metadata.model import PhotoAnnotations
from indexd.store.records import AnnotationSet
from indexd.store.sqlite.adapters import ids_json, utf8_text
from indexd.store.sqlite.annotations.merge import add_annotations
from indexd.store.sqlite.database import Connection, Database
from indexd.store.sqlite.library.fulltext import refresh_fulltext
from indexd_schemas.settings import SuggestionMode, SuggestionSource

# The later source overrules the earlier one: photo programs change sidecars and leave the file as it is.
SOURCES: tuple[SuggestionSource, ...] = ("sidecar", "file")
RATING, KEYWORD = "rating", "keyword"
_MODE_KEY = "photo_annotations"
_BATCH_IMAGES = 1000
_AMONG_SOURCES = f"source IN ({', '.join(f'{chr(39)}{source}{chr(39)}' for source in SOURCES)})"

Suggested = dict[SuggestionSource, PhotoAnnotations]


def store_suggestions(
    connection: Connection, given: Mapping[int, Mapping[SuggestionSource, PhotoAnnotations]], mode: SuggestionMode
) -> None:
    """Replace what the given sources state of these images, in the caller's transaction; other sources stay."""
    if mode == "off" or not given:
        return
    before = _read(connection, given)
    after = {image_id: {**before.get(image_id, {}), **stated} for image_id, stated in given.items()}
    changed = [image_id for image_id, stated in after.items() if _stated(stated) != _stated(before.get(image_id, {}))]
    for image_id in changed:
        connection.execute(f"DELETE FROM image_attribute WHERE image_id = ? AND {_AMONG_SOURCES}", (image_id,))
        connection.executemany(
            "INSERT INTO image_attribute (image_id, source, position, key, value) VALUES (?, ?, ?, ?, ?)",
            [
                (image_id, source, position, key, utf8_text(value))
                for source, stated in after[image_id].items()
                for position, (key, value) in enumerate(_attributes(stated))
            ],
        )
    refresh_fulltext(connection, changed)
    if mode == "take":
        _take(connection, {image_id: (before.get(image_id, {}), after[image_id]) for image_id in changed})


def set_suggestion_mode(database: Database, mode: SuggestionMode) -> None:
    """Follow a change of the setting: "off" forgets all suggestions, "take" takes those that were only shown."""
    with database.read() as connection:
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (_MODE_KEY,)).fetchone()
    if row is not None and row[0] == mode:
        return
    with database.write() as connection:
        if row is not None and mode != "show":
            ids = iter(
                [
                    image_id
                    for (image_id,) in connection.execute(
                        f"SELECT DISTINCT image_id FROM image_attribute WHERE {_AMONG_SOURCES} ORDER BY image_id"
                    )
                ]
            )
            while batch := list(islice(ids, _BATCH_IMAGES)):
                if mode == "take":
                    stated = _read(connection, batch)
                    _take(connection, {image_id: ({}, suggested) for image_id, suggested in stated.items()})
                else:
                    among = "image_id IN (SELECT value FROM json_each(?))"
                    connection.execute(
                        f"DELETE FROM image_attribute WHERE {_AMONG_SOURCES} AND {among}", (ids_json(batch),)
                    )
                    refresh_fulltext(connection, batch)
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_MODE_KEY, mode))


def _attributes(stated: PhotoAnnotations) -> list[tuple[str, str]]:
    rating = [] if stated.rating is None else [(RATING, str(stated.rating))]
    return [*rating, *((KEYWORD, word) for word in stated.keywords)]


def _stated(suggested: Mapping[SuggestionSource, PhotoAnnotations]) -> dict[SuggestionSource, PhotoAnnotations]:
    return {source: stated for source, stated in suggested.items() if stated != PhotoAnnotations()}


def _read(connection: Connection, ids: Collection[int]) -> dict[int, Suggested]:
    found: dict[int, Suggested] = {}
    rows = connection.execute(
        f"SELECT image_id, source, key, value FROM image_attribute WHERE {_AMONG_SOURCES}"
        " AND image_id IN (SELECT value FROM json_each(?)) ORDER BY image_id, source, position",
        (ids_json(ids),),
    ).fetchall()
    for image_id, source, key, value in rows:
        of_image = found.setdefault(image_id, {})
        known = of_image.get(source, PhotoAnnotations())
        of_image[source] = (
            PhotoAnnotations(int(value), known.keywords)
            if key == RATING
            else PhotoAnnotations(known.rating, (*known.keywords, value))
        )
    return found


def _take(connection: Connection, changes: Mapping[int, tuple[Suggested, Suggested]]) -> None:
    """Make ratings and tags of what the second state of an image suggests and the first did not."""
    tags: dict[int, tuple[AnnotationSet, ...]] = {}
    for image_id, states in changes.items():
        old, new = map(_merged, states)
        known = {word.casefold() for word in old.keywords}
        tags[image_id] = (AnnotationSet(tags=frozenset(one for one in new.keywords if one.casefold() not in known)),)
        if new.rating != old.rating:
            _take_rating(connection, image_id, old.rating, new.rating)
    add_annotations(connection, tags)


def _merged(suggested: Suggested) -> PhotoAnnotations:
    """The rating of the first source that states one, and the keywords of all."""
    stated = [suggested[source] for source in SOURCES if source in suggested]
    rating = next((one.rating for one in stated if one.rating is not None), None)
    return PhotoAnnotations(rating, tuple(word for one in stated for word in one.keywords))


def _take_rating(connection: Connection, image_id: int, old: int | None, new: int | None) -> None:
    row = connection.execute("SELECT value, rated_at FROM rating WHERE image_id = ?", (image_id,)).fetchone()
    if row is not None and row != (old, 0.0):
        return  # by a person, or of an import
    if new is None:
        connection.execute("DELETE FROM rating WHERE image_id = ?", (image_id,))
    else:
        connection.execute(
            "INSERT OR REPLACE INTO rating (image_id, value, rated_at) VALUES (?, ?, 0)", (image_id, new)
        )
