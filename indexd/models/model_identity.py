"""What a model *is*: hashes of its files, so that vectors of different revisions are never compared.

Hashing gigabytes takes seconds, so hashes are kept by path, size and modification time in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

HASH_CACHE_NAME = "model-hashes.json"


def file_sha256(path: str | os.PathLike[str], cache_folder: str) -> str:
    """The SHA-256 of a file in hex. Its first ten digits are what A1111 calls the model hash. Raises OSError."""
    file = os.path.abspath(path)
    stat = os.stat(file)
    stamp = [stat.st_size, stat.st_mtime_ns]
    known = _read_cache(cache_folder)
    entry = known.get(file)
    if entry is not None and entry[:2] == stamp:
        return str(entry[2])
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # Read again: another worker may have written in the seconds that the hashing took.
    known = _read_cache(cache_folder)
    known[file] = [*stamp, digest]
    _write_cache(cache_folder, known)
    return digest


def short_hash(path: str | os.PathLike[str], cache_folder: str) -> str:
    """What recipes and A1111-style texts call a model file by: the first ten digits of its SHA-256."""
    return file_sha256(path, cache_folder)[:10]


def model_identity(kind: str, version: int, files: Iterable[Path], folder: Path, cache_folder: str) -> str:
    """`kind/version/hash` over names (relative to `folder`) and contents of the files that decide the vectors.

    `version` counts changes in our own pooling: a new one means that old vectors are not comparable.
    """
    whole = hashlib.sha256()
    for file in sorted(files):
        name = file.relative_to(folder).as_posix() if file != folder else file.name
        whole.update(f"{name}\0{file_sha256(file, cache_folder)}\n".encode("utf-8", "surrogateescape"))
    return f"{kind}/{version}/{whole.hexdigest()[:32]}"


def _read_cache(cache_folder: str) -> dict[str, list[object]]:
    try:
        known = json.loads(Path(cache_folder, HASH_CACHE_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_cache(cache_folder: str, known: dict[str, list[object]]) -> None:
    target = Path(cache_folder, HASH_CACHE_NAME)
    scratch = target.with_name(f"{HASH_CACHE_NAME}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(known), "utf-8")
        scratch.replace(target)
    except (OSError, UnicodeEncodeError) as error:
        log.warning("the hash of a model cannot be kept in %s (%s); it is computed again next time", target, error)
