"""Which roles a worker could serve: looks only at names on disk; loads nothing."""

from __future__ import annotations

import os
import stat
from hashlib import blake2b
from pathlib import Path

from indexd.worker.calls import WorkerSettings

NO_MODEL = "no model is set for it; name one under [models.{role}] in the settings"


def role_problem(settings: WorkerSettings, role: str) -> str | None:
    """Why `role` is off, as the end of the sentence "… is off, because …"; None = nothing speaks against it."""
    spec = settings.models.get(role)
    if spec is None:
        return NO_MODEL.format(role=role)
    if os.path.exists(spec.path):
        return None
    if spec.hub:
        return f"{spec.hub} has not been fetched; run `indexd models pull {role}`"
    return f"there is nothing at {spec.path}; mount it or change [models.{role}] path"


def model_stamp(path: str) -> str:
    """What the files of a model look like from outside (names, sizes, times): equal = certainly not replaced."""
    root = Path(path)
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    digest = blake2b(digest_size=16)
    for file in files:
        try:
            found = file.stat()
        except OSError:  # a link to nothing, or taken away in this moment
            continue
        if stat.S_ISREG(found.st_mode):
            digest.update(os.fsencode(file) + b"\0%d\0%d\n" % (found.st_size, found.st_mtime_ns))
    return digest.hexdigest()
