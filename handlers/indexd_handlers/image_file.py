"""What happens when a picture arrives: its facts are read, and the stages of work that it still needs are named.

Reads one file (and, where the picture states nothing itself, the small texts beside it); writes nothing, so running it
twice is harmless. Stopping needs no care: one file takes milliseconds.
"""

from __future__ import annotations

import os

from indexd.errors import NotAnImage, NotRegularFile, is_transient_os_error
from indexd.fs.file_stamp import SettledFile
from indexd.fs.paths import absolute, display
from indexd.fs.safe_open import open_regular
from indexd.images.image_reader import read_image
from indexd.images.sidecar_texts import is_from_sidecar, read_sidecars
from indexd.indexing.stages import enabled_stages, stages_for, text_layers_by_input
from indexd.registry import IngestContext, handles_file
from indexd.store.records import ScannedFile


@handles_file("image")
def scan_image(file: SettledFile, context: IngestContext) -> ScannedFile:
    """The sighting of one settled file: its facts, or the reason for which it is no picture.

    Raises FileNotFoundError where it is gone again: then there is nothing to record. Raises OSError where the machine is at
    fault: the file is brought again.
    """
    path = absolute(file.root, file.rel)
    try:
        with open_regular(path) as opened:
            size = os.fstat(opened.fileno()).st_size
            facts = read_image(opened, size, display(path), read_sidecars=lambda: read_sidecars(path))
    except (NotAnImage, NotRegularFile) as error:
        return _unreadable(file, str(error))
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_transient_os_error(error):
            raise
        return _unreadable(file, f"cannot be read: {error.strerror or error}")
    return ScannedFile(
        file.root_id,
        file.rel,
        file.stamp,
        facts,
        stages=stages_for(facts, enabled_stages(context.settings)),
        layers_by_input=text_layers_by_input() if is_from_sidecar(facts.metadata) else {},
    )


def _unreadable(file: SettledFile, reason: str) -> ScannedFile:
    return ScannedFile(file.root_id, file.rel, file.stamp, None, problem=reason)
