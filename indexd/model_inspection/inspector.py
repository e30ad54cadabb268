"""Descriptions of model files for admission, doctor and lists: read once for each version of a file.

The daemon has them read in a reader process, as it parses no JSON of strangers; a command without daemon reads them itself.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from indexd.errors import CallCancelled, CallTimedOut, WorkerDied
from indexd.images.reader_client import SILENCE_SECONDS, as_error, reader_workers
from indexd.model_headers.description import ModelDescription
from indexd.model_inspection.description_cache import Stamp, read_descriptions, write_descriptions
from indexd.worker.calls import DescribeModels, ModelsDescribed, Priority, ReadFailure

CACHED_DESCRIPTIONS = 20_000
_BATCH = 64

_cache: OrderedDict[Stamp, ModelDescription] = OrderedDict()
_cache_lock = threading.Lock()


def describe_model_file(path: Path) -> ModelDescription:
    """The description of one file or folder of diffusers. Raises OSError where this machine is at fault."""
    return describe_model_files([path])[0]


def describe_model_files(paths: Sequence[Path], cache_folder: Path | None = None) -> list[ModelDescription]:
    """The description of each file, in order. Raises OSError where this machine is at fault.

    With `cache_folder`, descriptions are kept there for the next process.
    """
    stamps = [_stamp(path) for path in paths]
    with _cache_lock:
        if cache_folder is not None and any(stamp not in _cache for stamp in stamps):
            _cache.update(read_descriptions(cache_folder))
        found = {stamp: _cache[stamp] for stamp in stamps if stamp in _cache}
    missing = [(stamp, path) for stamp, path in zip(stamps, paths, strict=True) if stamp not in found]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        described = _describe([path for _, path in batch])
        found.update((stamp, one) for (stamp, _), one in zip(batch, described, strict=True))
    with _cache_lock:
        for stamp in stamps:
            if _is_of_the_content(found[stamp]):
                _cache[stamp] = found[stamp]
                _cache.move_to_end(stamp)
        while len(_cache) > CACHED_DESCRIPTIONS:
            _cache.popitem(last=False)
        if missing and cache_folder is not None:
            write_descriptions(cache_folder, _cache)
    return [found[stamp] for stamp in stamps]


def _is_of_the_content(description: ModelDescription) -> bool:
    """A missing permission or a dead process says nothing of the content, and the stamp does not change when it is cured."""
    return not description.problem.startswith("cannot be ")


def _stamp(path: Path) -> Stamp:
    """Path, size and mtime in nanoseconds; of a folder those of the files in it that are looked at."""
    try:
        files = [
            *path.glob("*.json"),
            *path.glob("*/*.json"),
            *path.glob("*.safetensors"),
            *path.glob("*/*.safetensors"),
        ]
        status = [file.stat() for file in files] if path.is_dir() else [path.stat()]
    except OSError:
        return str(path), -1, -1
    return str(path), sum(one.st_size for one in status), max((one.st_mtime_ns for one in status), default=0)


def _describe(paths: Sequence[Path]) -> list[ModelDescription]:
    call = DescribeModels(tuple(os.fsencode(path) for path in paths))
    workers = reader_workers()
    if workers is None:
        # Imported here: the daemon must not load the parsers.
        from indexd.model_inspection.describe_models import describe_models

        described = describe_models(call)
    else:
        try:
            handle = workers.submit(call, priority=Priority.JOB, timeout_seconds=SILENCE_SECONDS)
            described = handle.result()
        except CallCancelled as error:
            raise OSError(errno.EAGAIN, str(error)) from None
        except (WorkerDied, CallTimedOut):
            if len(paths) > 1:
                return [one for path in paths for one in _describe([path])]
            described = ModelsDescribed((ModelDescription("unknown", problem=_DEADLY),))
    for one in described.results:
        if isinstance(one, ReadFailure):
            raise as_error(one)
    return [one for one in described.results if isinstance(one, ModelDescription)]


_DEADLY = "cannot be used: its content ended the process that read it; download it again"
