"""What a test asks of another process."""

from __future__ import annotations

from pathlib import Path


def has_loaded_torch(pid: int) -> bool:
    """Whether torch's native library is mapped in the process. Linux only: proc(5)."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text("utf-8")
