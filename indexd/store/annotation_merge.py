"""How two sets of annotations of one content are merged, whatever the back end."""

from __future__ import annotations

from indexd.store.records import AnnotationSet


def merge_annotations(one: AnnotationSet, other: AnnotationSet, *, prefer_other: bool = False) -> AnnotationSet:
    """Both as one. `prefer_other`: what `other` states wins whenever it was given; tags are still added up."""
    rating, note = one, one
    if other.rating is not None and (
        prefer_other or one.rating is None or (other.rated_at, other.rating) > (one.rated_at, one.rating)
    ):
        rating = other
    if other.note and (prefer_other or not one.note or _note_rank(other) > _note_rank(one)):
        note = other
    tags = {tag.casefold(): tag for tag in sorted(other.tags)} | {tag.casefold(): tag for tag in sorted(one.tags)}
    return AnnotationSet(rating.rating, rating.rated_at, frozenset(tags.values()), note.note, note.noted_at)


def _note_rank(marks: AnnotationSet) -> tuple[float, int, str]:
    note = marks.note or ""
    return marks.noted_at, len(note), note
