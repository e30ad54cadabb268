"""Reports the committed changes of images, annotations, jobs and daemon events, whichever code wrote them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import apsw

from indexd.background.signal import Signal
from indexd.store.records import StoreChanges

_Kind = Literal["image_ids", "annotated_ids", "job_ids"]
# Table -> its column that holds the id, and what a change of a row means. `_on_row` handles three more tables.
_COLUMNS: dict[str, tuple[str, _Kind]] = {
    "file": ("image_id", "image_ids"),
    "folder_tag": ("image_id", "image_ids"),
    "image_attribute": ("image_id", "image_ids"),
    "rating": ("image_id", "annotated_ids"),
    "tag": ("image_id", "annotated_ids"),
    "note": ("image_id", "annotated_ids"),
    "job": ("id", "job_ids"),
    "job_item": ("job_id", "job_ids"),
}


class ChangeFeed:
    """Watches the writer's connection, from the first subscription on: about 1 microsecond for each row that is written.

    `on_commit` and `on_rollback` are called by the thread that holds the write lock.
    """

    def __init__(self) -> None:
        self.committed: Signal[[StoreChanges]] = Signal("store changes")
        self._pending = StoreChanges()
        self._positions: dict[str, tuple[int, _Kind]] = {}
        self._event_text = self._task_image = 0

    def install(self, connection: apsw.Connection) -> None:
        """Start watching; the caller holds the write lock, and no transaction is open. Harmless when repeated."""
        if self._positions:
            return
        for table, (column, kind) in _COLUMNS.items():
            self._positions[table] = (_column_names(connection, table).index(column), kind)
        self._task_image = _column_names(connection, "index_task").index("image_id")
        self._event_text = _column_names(connection, "event").index("text")
        connection.preupdate_hook(self._on_row)

    def on_commit(self) -> Callable[[], None]:
        """Takes the changes of the transaction that was just committed; the result reports them, without the lock."""
        changes, self._pending = self._pending, StoreChanges()
        return (lambda: self.committed.emit(changes)) if changes else (lambda: None)

    def on_rollback(self) -> None:
        """Discard the changes of the transaction."""
        self._pending = StoreChanges()

    def _on_row(self, update: apsw.PreUpdate) -> None:
        table = update.table_name
        if table in self._positions:
            position, kind = self._positions[table]
            ids: set[Any] = getattr(self._pending, kind)
            for row in (update.old, update.new):
                if row is not None and row[position] is not None:
                    ids.add(row[position])
        elif table == "index_task" and update.op == "DELETE" and update.old is not None:
            self._pending.image_ids.add(cast("int", update.old[self._task_image]))
        elif table == "image":
            changes = self._pending
            {"INSERT": changes.added_ids, "DELETE": changes.removed_ids}.get(update.op, changes.image_ids).add(
                update.rowid
            )
        elif table == "event" and update.new is not None:
            self._pending.event_texts.append(str(update.new[self._event_text]))


def _column_names(connection: apsw.Connection, table: str) -> list[Any]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()]
