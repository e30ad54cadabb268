"""Folders of models that are built once, however many processes want them at the same moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def built_once(folder: Path, seed: int) -> Iterator[Path]:
    """A scratch folder to build in, with torch's lots drawn from `seed`; it becomes `folder` unless another was quicker."""
    scratch = folder.with_name(f"{folder.name}.building-{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield scratch
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(scratch)  # another process built the same in the meantime
