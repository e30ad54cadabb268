"""What happens when a picture arrives: its facts are read, and the stages of work that it still needs are named.

Reads one file (and, where the picture states nothing itself, the small texts beside it); writes nothing, so running it
twice is harmless. Stopping needs no care: one file takes milliseconds.
"""

from __future__ import annotations

import os

from indexd.errors import NotAPicture, NotRegular, is_machines_fault
from indexd.images.read import read
from indexd.images.sidecar import is_from_beside, sidecars
from indexd.layers.description import layers_of_texts, stages_for
from indexd.registry import IntakeContext, handles_file
from indexd.store.records import Sighting
from indexd.watch.paths import absolute, display
from indexd.watch.regular import open_regular
from indexd.watch.stamp import SettledFile


@handles_file("image")
def image(file: SettledFile, context: IntakeContext) -> Sighting:
    """The sighting of one settled file: its facts, or the reason for which it is no picture.

    Raises FileNotFoundError where it is gone again: then there is nothing to record. Raises OSError where the machine is at
    fault: the file is brought again.
    """
    path = absolute(file.root, file.rel)
    try:
        with open_regular(path) as opened:
            size = os.fstat(opened.fileno()).st_size
            facts = read(opened, size, display(path), beside=lambda: sidecars(path))
    except (NotAPicture, NotRegular) as error:
        return _problem(file, str(error))
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_machines_fault(error):
            raise
        return _problem(file, f"cannot be read: {error.strerror or error}")
    return Sighting(
        file.root_id,
        file.rel,
        file.stamp,
        facts,
        stages=stages_for(facts, faces=bool(context.settings.faces.detectors)),
        layers_of_texts=layers_of_texts() if is_from_beside(facts.metadata) else {},
    )


def _problem(file: SettledFile, reason: str) -> Sighting:
    return Sighting(file.root_id, file.rel, file.stamp, None, problem=reason)
