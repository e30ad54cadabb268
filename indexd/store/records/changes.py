"""What one committed transaction changed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StoreChanges:
    """Ids by kind of change. `image_ids` are images with a changed file, attribute or finished index stage."""

    added_ids: set[int] = field(default_factory=set)
    image_ids: set[int] = field(default_factory=set)
    removed_ids: set[int] = field(default_factory=set)
    annotated_ids: set[int] = field(default_factory=set)
    job_ids: set[int] = field(default_factory=set)
    event_texts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(
            (self.added_ids, self.image_ids, self.removed_ids, self.annotated_ids, self.job_ids, self.event_texts)
        )
