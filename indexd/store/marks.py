"""What people say of pictures: ratings, tags, notes. They hang on the content, so a move or a copy keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from indexd.store.database import Database
from indexd.store.texts import refresh_texts
from indexd.store.values import ids_json, plain_text

_KNOWN = "SELECT id FROM image WHERE id IN (SELECT value FROM json_each(?))"


class Marks:
    """Ids that are in no image are passed over; the methods return how many images were marked."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def rate(self, ids: Iterable[int], rating: int) -> int:
        """Give images 1 to 5 stars; 0 takes the rating away."""
        if not 0 <= rating <= 5:
            raise ValueError(f"a rating is 0 to 5, not {rating}")
        wanted = ids_json(ids)
        with self._database.write() as connection:
            known = connection.execute(_KNOWN, (wanted,)).fetchall()
            if rating:
                connection.executemany(
                    "INSERT OR REPLACE INTO rating (image_id, value, rated_at) VALUES (?, ?, ?)",
                    [(image_id, rating, self._clock()) for (image_id,) in known],
                )
            else:
                connection.executemany("DELETE FROM rating WHERE image_id = ?", known)
        return len(known)

    def tag(self, ids: Iterable[int], add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
        """Add and take away tags. Tags are compared without case; the spelling first used in the index stays."""
        wanted = ids_json(ids)
        with self._database.write() as connection:
            known = [image_id for (image_id,) in connection.execute(_KNOWN, (wanted,)).fetchall()]
            spelled = {name.casefold(): name for (name,) in connection.execute("SELECT DISTINCT name FROM tag")}
            for name in filter(None, (plain_text(text).strip() for text in remove)):
                connection.executemany(
                    "DELETE FROM tag WHERE image_id = ? AND name = ?",
                    [(image_id, spelled.get(name.casefold(), name)) for image_id in known],
                )
            for name in filter(None, (plain_text(text).strip() for text in add)):
                spelling = spelled.setdefault(name.casefold(), name)
                connection.executemany(
                    "INSERT OR IGNORE INTO tag (image_id, name) VALUES (?, ?)",
                    [(image_id, spelling) for image_id in known],
                )
            refresh_texts(connection, known)
        return len(known)

    def note(self, image_id: int, text: str | None) -> bool:
        """Set the note of an image; empty or None takes it away. False when there is no such image."""
        with self._database.write() as connection:
            known = connection.execute("SELECT 1 FROM image WHERE id = ?", (image_id,)).fetchone() is not None
            if known and text:
                connection.execute(
                    "INSERT OR REPLACE INTO note (image_id, text) VALUES (?, ?)", (image_id, plain_text(text))
                )
            elif known:
                connection.execute("DELETE FROM note WHERE image_id = ?", (image_id,))
        return known
