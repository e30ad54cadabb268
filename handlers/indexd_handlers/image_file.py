"""Handler for settled image files: reads them and names the index tasks that they need.

Reads the files, and the sidecar files of images that state nothing themselves, in a reader process. Writes nothing, so
running it twice is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence

from indexd.fs.file_stamp import SettledFile
from indexd.fs.paths import absolute
from indexd.images.reader_client import ReadResult, as_error, read_in_this_process
from indexd.images.sidecar_texts import is_from_sidecar
from indexd.indexing.stages import enabled_stages, stages_for, text_layers_by_input
from indexd.registry import IngestContext, handles_file
from indexd.store.records import ScannedFile
from indexd.worker.calls import ReadFailure


@handles_file("image")
def scan_images(files: Sequence[SettledFile], context: IngestContext) -> list[ScannedFile | OSError]:
    """One result a file, in order: what was read of it, or why it is no image.

    A file that is gone, or that the system could not read, has the OSError as its result.
    """
    read = context.read_images or read_in_this_process
    results = read([absolute(file.root, file.rel) for file in files])
    return [_scanned(file, result, context) for file, result in zip(files, results, strict=True)]


def _scanned(file: SettledFile, result: ReadResult, context: IngestContext) -> ScannedFile | OSError:
    if isinstance(result, ReadFailure):
        error = as_error(result)
        return (
            error if isinstance(error, OSError) else ScannedFile(file.root_id, file.rel, file.stamp, None, str(error))
        )
    return ScannedFile(
        file.root_id,
        file.rel,
        file.stamp,
        result,
        stages=stages_for(result, enabled_stages(context.settings)),
        layers_by_input=text_layers_by_input() if is_from_sidecar(result.metadata) else {},
        suggestions=context.settings.watch.photo_annotations,
    )
