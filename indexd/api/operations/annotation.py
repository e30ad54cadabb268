"""Operations on annotations: ratings, tags, notes, and their exchange between libraries."""

from __future__ import annotations

from collections.abc import Iterable

from indexd.api.context import OperationContext
from indexd.api.operations.registry import operation
from indexd.errors import UsageError
from indexd.search.query.image_target import parse_target
from indexd_schemas.api.annotations import (
    AnnotateMatchingRequest,
    AnnotationPage,
    ExportRequest,
    ImportReport,
    ImportRequest,
    NoteRequest,
)
from indexd_schemas.api.output import AnnotateReport
from indexd_schemas.api.requests import RateRequest, TagRequest


@operation("POST", "/v1/rating")
def rate(context: OperationContext, request: RateRequest) -> AnnotateReport:
    """Rate images 1 to 5; 0 removes the rating."""
    ids, not_found = _image_ids(context, request.targets)
    if ids:
        context.store.annotations.rate(ids, request.rating)
    return AnnotateReport(changed=len(ids), not_found=not_found)


@operation("POST", "/v1/tags")
def tag(context: OperationContext, request: TagRequest) -> AnnotateReport:
    """Add tags to images and remove tags from them."""
    from indexd.api.bulk_annotations import check_tags

    check_tags(request.add, request.remove)
    if not request.add and not request.remove:
        raise UsageError("no tag is named; state at least one in `add` or `remove`")
    ids, not_found = _image_ids(context, request.targets)
    if ids:
        context.store.annotations.tag(ids, request.add, request.remove)
    return AnnotateReport(changed=len(ids), not_found=not_found)


@operation("POST", "/v1/notes")
def note(context: OperationContext, request: NoteRequest) -> AnnotateReport:
    """Set the note of images, or append a line to it; an empty text removes the note."""
    ids, not_found = _image_ids(context, request.targets)
    if ids:
        context.store.annotations.note(ids, request.text, append=request.append)
    return AnnotateReport(changed=len(ids), not_found=not_found)


@operation("POST", "/v1/annotations/matching", timeout_seconds=None)
def annotate_matching(context: OperationContext, request: AnnotateMatchingRequest) -> AnnotateReport:
    """Rate, tag or note every image that matches all filters; a dry run counts them."""
    from indexd.api import bulk_annotations

    return bulk_annotations.annotate_matching(context.store, request)


@operation("POST", "/v1/annotations/export")
def export_annotations(context: OperationContext, request: ExportRequest) -> AnnotationPage:
    """Export a page of all annotations by content hash, pending annotations included."""
    from indexd.api.bulk_annotations import export_page

    return export_page(context.store, request)


@operation("POST", "/v1/annotations/import")
def import_annotations(context: OperationContext, request: ImportRequest) -> ImportReport:
    """Merge exported annotations; those of unknown contents stay pending until the content appears."""
    from indexd.api import bulk_annotations

    return bulk_annotations.import_annotations(context.store, request)


def _image_ids(context: OperationContext, targets: Iterable[str]) -> tuple[list[int], list[str]]:
    """The distinct ids of the images, and the targets that are not in the index."""
    from indexd.search.query.image_lookup import find_image_id

    found: dict[int, None] = {}
    not_found = []
    for target in map(parse_target, targets):
        image_id = find_image_id(context.store, target)
        if image_id is None:
            not_found.append(str(target))
        else:
            found[image_id] = None
    return list(found), not_found
