"""What the unit layer promises: its tests load no torch and start no Python process, so that all run in a minute."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import util
from types import ModuleType
from typing import Any, NoReturn

HEAVY = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open_clip",
    "sentence_transformers",
    "ultralytics",
    "peft",
)


class _RefusingLoader(importlib.abc.Loader):
    def exec_module(self, module: ModuleType) -> None:
        raise ImportError(f"a unit test imported {module.__name__}: move the test to tests/models")


class _NoHeavyImports(importlib.abc.MetaPathFinder):
    """Whether a library is installed can be asked; importing it fails."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in HEAVY:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _RefusingLoader()
        return spec


_popen = subprocess.Popen.__init__


def _refuse_python(self: subprocess.Popen[Any], args: Any, *rest: Any, **options: Any) -> None:
    """Short commands of the system, such as a notification hook, are allowed."""
    program = args if isinstance(args, str) else os.fsdecode(args[0])
    if os.path.basename(program).startswith("python"):
        _refuse_process()
    _popen(self, args, *rest, **options)


def _refuse_process(*_args: object, **_options: object) -> NoReturn:
    raise AssertionError("a unit test started a Python process: move the test to tests/system")


def enforce_unit_layer() -> None:
    """From now on, importing torch or starting a Python process fails in this process."""
    sys.meta_path.insert(0, _NoHeavyImports())
    subprocess.Popen.__init__ = _refuse_python  # type: ignore[method-assign]
    util.spawnv_passfds = _refuse_process
