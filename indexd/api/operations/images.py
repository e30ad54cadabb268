"""Operations that read images: search, details, bytes, duplicates, statistics, samples."""

from __future__ import annotations

from indexd.api.context import OperationContext
from indexd.api.image_bytes import ImageBytes
from indexd.api.operations.registry import operation
from indexd.errors import NothingFound, UsageError
from indexd.search.query.image_target import parse_target
from indexd_schemas.api.characters import SampleRequest, SampleResult
from indexd_schemas.api.library_reports import DuplicatesReport, DuplicatesRequest, StatisticsReport, StatsRequest
from indexd_schemas.api.output import Explanation, SearchResults, ShownImage
from indexd_schemas.api.requests import ImageId, ImageSelector, SearchRequest

COMPARE_TIMEOUT_SECONDS = 300.0
"""For one call of at most 32 pairs; a worker that is busy with thumbnails may let it wait."""


@operation("POST", "/v1/query")
def query(context: OperationContext, request: SearchRequest) -> SearchResults:
    """Search images, best match first."""
    from indexd.api.cursors import search_page

    return search_page(context.search, request, context.store.images.newest_id())


@operation("GET", "/v1/image")
def show(context: OperationContext, request: ImageSelector) -> ShownImage:
    """Show everything the index knows about one image."""
    from indexd.api.image_details import serialize_shown_image
    from indexd.search.query.image_lookup import find_image_row

    target = parse_target(request.target)
    row = find_image_row(context.store, target)
    if row is None:
        raise NothingFound(f"{target} is not in the index; `indexd explain` says why")
    return serialize_shown_image(context, row)


@operation("GET", "/v1/images/{id}/thumbnail")
def thumbnail(context: OperationContext, request: ImageId) -> ImageBytes:
    """Send the thumbnail of an image."""
    from indexd.api.image_files import load_thumbnail

    return load_thumbnail(context.store, context.config, request.id)


@operation("GET", "/v1/images/{id}/file")
def original(context: OperationContext, request: ImageId) -> ImageBytes:
    """Send the file of an image, if its content is still the indexed one."""
    from indexd.api.image_files import load_original

    return load_original(context.store, context.config, request.id)


@operation("GET", "/v1/explain")
def explain(context: OperationContext, request: ImageSelector) -> Explanation:
    """Explain whether a file (a `path:` target) is indexed, what is pending, or why it was skipped."""
    from indexd.api.explanation import explain_path

    path = parse_target(request.target).path
    if path is None:
        raise UsageError("only a path can be explained; write path:<absolute path>")
    return explain_path(context, path)


@operation("POST", "/v1/duplicates")
def duplicates(context: OperationContext, request: DuplicatesRequest) -> DuplicatesReport:
    """List groups of equal or similar images, each with the one to keep. Changes nothing."""
    from indexd.duplicates.duplicate_report import find_duplicates
    from indexd.worker.calls import CompareCopies, CopiesCompared, Priority

    def compare(call: CompareCopies) -> CopiesCompared:
        handle = context.workers().submit(call, priority=Priority.URGENT, timeout_seconds=COMPARE_TIMEOUT_SECONDS)
        compared: CopiesCompared = handle.result()
        return compared

    return find_duplicates(context.store, request, compare, str(context.config.paths.thumbnails))


@operation("POST", "/v1/stats")
def stats(context: OperationContext, request: StatsRequest) -> StatisticsReport:
    """Count images by model and other keys, and compare images with five stars to the others."""
    from indexd.statistics.statistics_report import compute_statistics

    return compute_statistics(context.store, request)


@operation("POST", "/v1/sample")
def sample(context: OperationContext, request: SampleRequest) -> SampleResult:
    """Choose a few images of a character, or of those that match filters."""
    from indexd.characters.sampling import take_sample

    return take_sample(context.store, request)
