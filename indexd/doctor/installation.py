"""Checks the installation: Python, packages, settings."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning

DAEMON_PACKAGES = ("apsw", "sqlite_vec", "numpy", "PIL", "watchfiles", "apscheduler", "uvicorn", "starlette", "blake3")
WORKER_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "open_clip",
    "sentence_transformers",
    "peft",
    "safetensors",
    "spandrel",
    "ultralytics",
)


def check_packages() -> Iterator[DoctorFinding]:
    """Report the Python version, and check that all packages are installed, without importing them."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("python", f"{version} at {sys.executable}")
    for side, names, report in (("daemon", DAEMON_PACKAGES, failed), ("worker", WORKER_PACKAGES, warning)):
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        if missing:
            yield report(
                f"{side} packages", f"missing: {', '.join(missing)}", "install indexd again: pip install indexd"
            )
        else:
            yield ok(f"{side} packages", "all installed")


def check_settings(config: Config) -> Iterator[DoctorFinding]:
    """Check that there is a settings file; `read_config` has already checked its content."""
    file = config.paths.settings_file
    if file.exists():
        yield ok("settings", str(file))
    else:
        yield warning("settings", f"there is no file at {file}; defaults apply", "run `indexd init`")
