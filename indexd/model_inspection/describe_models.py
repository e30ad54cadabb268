"""Serves the call `DescribeModels` in a reader process: headers of model files that anybody may have written."""

from __future__ import annotations

import os
from pathlib import Path

from indexd.errors import is_transient_os_error
from indexd.images.read_images import ReadSession
from indexd.images.read_limits import ReadLimitReached, within_limits
from indexd.model_headers.description import ModelDescription
from indexd.model_headers.inspect_file import describe_model
from indexd.worker.calls import DescribeModels, ModelsDescribed, ReadFailure


def describe_models(call: DescribeModels, session: ReadSession | None = None) -> ModelsDescribed:
    """Describe each file of the call, in order. Raises CallCancelled between two files."""
    results = []
    for number, path in enumerate(call.paths):
        if session is not None and number:
            session.poll()
            session.progress("describe", number, len(call.paths))
        results.append(_describe(Path(os.fsdecode(path))))
    return ModelsDescribed(tuple(results))


def _describe(path: Path) -> ModelDescription | ReadFailure:
    try:
        return within_limits(0, lambda: describe_model(path))
    except ReadLimitReached as error:
        return ModelDescription("unknown", problem=f"cannot be used: {error}; download it again")
    except OSError as error:
        if is_transient_os_error(error):
            return ReadFailure("system", error.strerror or str(error), error.errno or 0)
        return ModelDescription("unknown", problem=f"cannot be read: {error.strerror or error}")
