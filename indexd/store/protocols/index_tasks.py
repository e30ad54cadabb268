"""The repository of index tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from indexd.store.records import IndexTask, IndexTaskRow


class IndexTaskRepository(Protocol):
    """Index tasks by stage and image: pending, running, failed or blocked. A finished task has no row.

    A blocked task has no file to read. It becomes pending when a file of its image comes back.
    """

    def claim(self, stage: str, limit: int, now: float, after: str = "") -> list[IndexTask]:
        """Start up to `limit` ready tasks, lowest image id first.

        An image whose task of the stage `after` is running or ready is left for later. The attempt is counted and
        committed before this returns, so that a task that kills the worker is noticed.
        """
        ...

    def waiting_stages(self, ids: Iterable[int], stages: Iterable[str]) -> dict[int, set[str]]:
        """Which of `stages` have a pending task, by image; images without one are left out."""
        ...

    def mark_done(self, stage: str, ids: Iterable[int]) -> None:
        """Delete finished tasks."""
        ...

    def mark_failed(self, stage: str, image_id: int, error: str, *, retry_at: float | None) -> None:
        """The attempt failed: retry it at `retry_at` (epoch) or later, or never if that is None."""
        ...

    def mark_blocked(self, stage: str, image_id: int, error: str, *, retry_at: float) -> None:
        """No file of the image could be opened; the attempt does not count.

        The task is blocked if the index knows of no present file, and else retried at `retry_at` (epoch).
        """
        ...

    def requeue(self, stage: str, ids: Iterable[int]) -> None:
        """Return running tasks to pending; the attempt does not count."""
        ...

    def reset_running(self) -> int:
        """Return every running task to pending; returns how many. For the start, after a killed process.

        The attempt does not count: workers read the images, so no image can have ended this process.
        """
        ...

    def retry(self, stage: str | None = None) -> int:
        """Return failed tasks (of one stage, or of all) to pending, without attempts; returns how many."""
        ...

    def counts(self) -> dict[str, dict[str, int]]:
        """How many tasks there are, by stage and state."""
        ...

    def of_image(self, image_id: int) -> list[IndexTaskRow]:
        """The tasks of one image."""
        ...
