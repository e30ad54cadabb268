"""Formats the status of the daemon as one line for `systemctl status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# A longer line is cut off by terminals.
MAX_LINE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class StatusSummary:
    """Numbers of watched folders (`offline` and `scanning` of them), unread files, index tasks, and jobs by state."""

    folders: int = 0
    offline: int = 0
    scanning: int = 0
    unread_files: int = 0
    index_tasks: int = 0
    jobs: Mapping[str, int] = field(default_factory=dict)
    paused: str | None = None

    def format_line(self) -> str:
        """One line: first what runs, then what is pending."""
        parts = [f"watching {_count(self.folders, 'folder')}" + (f" ({self.offline} offline)" if self.offline else "")]
        if self.scanning:
            parts.append(f"comparing {self.scanning} with the index")
        if self.unread_files:
            parts.append(f"{_count(self.unread_files, 'file')} to read")
        if self.index_tasks:
            parts.append(_count(self.index_tasks, "index task"))
        queued, running = self.jobs.get("queued", 0), self.jobs.get("running", 0)
        if running:
            parts.append(f"{_count(running, 'job')} running")
        if queued:
            parts.append(f"{_count(queued, 'job')} queued")
        if self.paused is not None:
            parts.append(f"the job queue is paused: {self.paused}")
        if len(parts) == 1:
            parts.append("nothing to do")
        line = " ".join("; ".join(parts).split())
        return line if len(line) <= MAX_LINE_CHARACTERS else line[: MAX_LINE_CHARACTERS - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
