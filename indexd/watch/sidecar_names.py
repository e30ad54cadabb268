"""Texts that other programs put beside pictures: which names they have, and which pictures they are about.

They are written after the picture, often after it was read; so a text that comes or changes brings its pictures again.
"""

from __future__ import annotations

import os
import re

from indexd.errors import NotRegularFile, is_out_of_handles
from indexd.fs.paths import absolute
from indexd.fs.safe_open import open_regular
from indexd.watch.watch_filter import IMAGE_SUFFIXES

_ANNOTATION_SUFFIX = b".xmp"
SIDECAR_SUFFIXES = (b".swarm.json", b".civitai.info", b".json", b".txt", _ANNOTATION_SUFFIX)
"""What stands behind the stem of the picture, the longer ending first."""

FOOOCUS_LOG_NAME = b"log.html"
"""Fooocus' log of all pictures in a folder, the newest first."""

LOG_IMAGES_MAX = 20
_LOG_HEAD_BYTES = 64 << 10
_IMAGE_LINK = re.compile(rb"<a href=[\"']([^\"'<>/\\]{1,255})[\"']")


def is_sidecar(rel: bytes) -> bool:
    """Whether a file of this name may be about a picture."""
    name = rel.rpartition(b"/")[2].lower()
    return name == FOOOCUS_LOG_NAME or name.endswith(SIDECAR_SUFFIXES)


def is_annotation_sidecar(rel: bytes) -> bool:
    """Whether it holds ratings and keywords, whatever the image states of its making."""
    return rel.lower().endswith(_ANNOTATION_SUFFIX)


def find_images_of_sidecar(root: bytes, rel: bytes) -> list[bytes]:
    """The pictures below `root` that lie there now and that the text at `rel` may be about.

    Raises OSError where no handle is left to tell with.
    """
    folder, slash, name = rel.rpartition(b"/")
    if name.lower() == FOOOCUS_LOG_NAME:
        names = _newest_images_in_log(absolute(root, rel))
    else:
        end = next((end for end in SIDECAR_SUFFIXES if name.lower().endswith(end)), b"")
        stem = name[: len(name) - len(end)]
        names = [stem + spelled for ending in IMAGE_SUFFIXES for spelled in (ending, ending.upper())]
        if stem.lower().endswith(tuple(IMAGE_SUFFIXES)):
            names.append(stem)  # x.png.xmp
    rels = [folder + slash + one for one in names]
    return [one for one in rels if os.path.lexists(absolute(root, one))]


def _newest_images_in_log(log: bytes) -> list[bytes]:
    try:
        with open_regular(log) as file:
            head = file.read(_LOG_HEAD_BYTES)
    except OSError as error:
        if is_out_of_handles(error):
            raise
        return []
    except NotRegularFile:
        return []
    return list(dict.fromkeys(_IMAGE_LINK.findall(head)))[:LOG_IMAGES_MAX]
