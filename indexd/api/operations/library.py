"""Operations on the library as a whole: scans, moved folders, missing files, newer metadata parsers."""

from __future__ import annotations

from indexd.api.context import OperationContext
from indexd.api.operations.registry import operation
from indexd_schemas.api.annotations import ForgetReport, ForgetRequest, RelocateReport, RelocateRequest
from indexd_schemas.api.requests import ReparseRequest, ScanRequest
from indexd_schemas.api.responses import ReparseReport, ScanReport


@operation("POST", "/v1/scan", timeout_seconds=None)
def scan(context: OperationContext, request: ScanRequest) -> ScanReport:
    """Compare every watched folder with the index now."""
    from indexd.api.status_report import run_scan

    return run_scan(context.store, context.require_daemon("scan"), wait=request.wait)


@operation("POST", "/v1/relocate", timeout_seconds=None)
def relocate(context: OperationContext, request: RelocateRequest) -> RelocateReport:
    """Record that a folder was moved. No file is read, and neither path need exist."""
    from indexd.api import library_changes

    return library_changes.relocate(context, request)


@operation("POST", "/v1/forget", timeout_seconds=None)
def forget(context: OperationContext, request: ForgetRequest) -> ForgetReport:
    """Remove missing files from the index. Never touches a file."""
    from indexd.api import library_changes

    return library_changes.forget(context, request)


@operation("POST", "/v1/reparse")
def reparse(context: OperationContext, request: ReparseRequest) -> ReparseReport:
    """Parse the stored metadata of the next images again."""
    from indexd.api.library_changes import reparse_metadata

    report = reparse_metadata(context.store, request, context.config.settings.watch.photo_annotations)
    if report.changed and context.daemon is not None:
        context.daemon.signal_new_work()
    return report
