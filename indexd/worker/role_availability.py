"""Which roles a worker could serve, judged by the files on disk alone; nothing is loaded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from indexd.worker.calls import CLIP_H, FACES, WorkerSettings

NO_DETECTOR_REASON = "no detector is set; name one under [[faces.detectors]] in the settings"
NO_MODEL_REASON = "no model is set for it; name one under [models.{role}] in the settings"


def role_problem(settings: WorkerSettings, role: str) -> str | None:
    """Why `role` is off, as the end of the sentence "… is off, because …"; None = it is on."""
    if role == FACES:
        return _faces_problem(settings)
    spec = settings.models.get(role)
    if spec is None:
        return NO_MODEL_REASON.format(role=role)
    if os.path.exists(spec.path):
        return None
    if spec.hub:
        return f"{spec.hub} has not been fetched; run `indexd models pull {role}`"
    return f"there is nothing at {spec.path}; mount it or change [models.{role}] path"


def _faces_problem(settings: WorkerSettings) -> str | None:
    faces = settings.faces
    if not faces.detectors:
        return NO_DETECTOR_REASON
    for path in [*(detector.path for detector in faces.detectors), faces.embedder_path]:
        if path and not os.path.exists(path):
            return f"there is nothing at {path}; mount it or correct [faces] in the settings"
    problem = role_problem(settings, CLIP_H) if faces.embedder == CLIP_H else None
    return f"clip_h, which embeds them, is off: {problem}" if problem is not None else None


def role_fingerprint(settings: WorkerSettings, role: str) -> str | None:
    """A fingerprint of the files of a role: equal = certainly not replaced; None = the role has none."""
    if role == FACES:
        faces = settings.faces
        clip_h = settings.models.get(CLIP_H) if faces.embedder == CLIP_H else None
        paths = [*(detector.path for detector in faces.detectors), faces.embedder_path, clip_h.path if clip_h else ""]
        # What is kept and how it is cut out decides the vectors as the files do.
        return _fingerprint_files([path for path in paths if path], repr(faces)) if faces.detectors else None
    spec = settings.models.get(role)
    return _fingerprint_files([spec.path]) if spec is not None else None


def _fingerprint_files(paths: Iterable[str], extra: str = "") -> str:
    """A hash over names, sizes and times of files."""
    files: list[Path] = []
    for root in map(Path, paths):
        files += sorted(root.rglob("*")) if root.is_dir() else [root]
    digest = blake2b(extra.encode("utf-8", "surrogateescape"), digest_size=16)
    for file in files:
        try:
            found = file.stat()
        except OSError:  # a link to nothing, or taken away in this moment
            continue
        if stat.S_ISREG(found.st_mode):
            digest.update(os.fsencode(file) + b"\0%d\0%d\n" % (found.st_size, found.st_mtime_ns))
    return digest.hexdigest()
