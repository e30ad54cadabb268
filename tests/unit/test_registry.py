"""The registry of handlers."""

from __future__ import annotations

import errno
import importlib.resources
import sys
from pathlib import Path

import pytest

from indexd.registry import HandlerRegistry


def test_a_package_that_cannot_be_listed_is_an_error_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sample_handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from __main__ import sample_registry\nsample_registry.register('one')(print)\n")
    registry = HandlerRegistry("sample", "sample_handlers")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "sample_registry", registry, raising=False)

    def no_file_handles(name: str) -> Path:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(importlib.resources, "files", no_file_handles)
        with pytest.raises(OSError, match="Too many open files"):
            registry.get("one")
    assert registry.get("one") is print
    assert list(registry.kinds()) == ["one"]
