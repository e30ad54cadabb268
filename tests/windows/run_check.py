"""Runs the tests and the real daemon under Wine: `make windows-check`. Skips, saying why, where Wine cannot be had.

Prints what Wine cannot show, the results of the tests, and each step of the daemon's journey. Exit code 1 on a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from rich.console import Console

from tests.windows.environment import EnvironmentUnavailable, WindowsEnvironment, windows_path

TEST_SECONDS = 480.0
TEST_FOLDERS = (
    *("store", "watch", "jobs", "api", "cli", "indexing", "images", "image_metadata", "ingest", "doctor", "worker"),
    *("search", "duplicates", "statistics", "prompts", "background", "vector_index"),
)
"""Folders of tests/unit. `characters` needs hdbscan, `docs` shows paths of POSIX."""
WINE_LIMITS = {
    "tests/unit/watch/test_watchers.py": "Wine reports no changes in subfolders",
    "tests/unit/watch/test_service.py": "Wine reports no changes in subfolders",
    "tests/unit/cli/test_models.py": "huggingface_hub is not installed",
    "tests/unit/cli/test_doctor.py::test_all_is_well": "torch is not installed",
}
LAUNCHER = Path(__file__).with_name("launcher.py")
STOP_FILE = "stop"
STOP_SECONDS = 20.0
JOB = "kind: txt2img\nprompt: a star\nsize: 64x64\n"
out = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Build the environment, run the tests, then the daemon. Returns the exit code."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "indexd-tests"
    environment = WindowsEnvironment(cache)
    try:
        environment.build()
    except EnvironmentUnavailable as error:
        out.print(f"windows-check skipped: {error}")
        return 0
    for path, reason in WINE_LIMITS.items():
        out.print(f"left out: {path} ({reason})")
    environment.start_services()
    try:
        failed = _run_tests(environment)
        return 1 if _run_journey(environment) or failed else 0
    finally:
        environment.stop_services()


def _run_tests(environment: WindowsEnvironment) -> bool:
    """Run the unit tests; whether one failed."""
    ignored = [f"--{'deselect' if '::' in path else 'ignore'}={path}" for path in WINE_LIMITS]
    folders = [f"tests/unit/{folder}" for folder in TEST_FOLDERS]
    options = ("-q", "-p", "no:cacheprovider", "--tb=short", "--timeout=120")
    try:
        done = environment.run("-m", "pytest", *options, *ignored, *folders, seconds=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        out.print(f"the tests took longer than {TEST_SECONDS:g} s")
        return True
    out.print(done.stdout[-20_000:], markup=False)
    return done.returncode != 0


def _run_journey(environment: WindowsEnvironment) -> bool:
    """Use the daemon as a person does; whether a step failed."""
    home = Path(tempfile.mkdtemp(prefix="indexd-windows-"))
    images = home / "images"
    images.mkdir()
    Image.new("RGB", (64, 64), "red").save(images / "before.png")
    (home / "indexd.toml").write_text(f"[[roots]]\npath = '{windows_path(images)}'\n[log]\nlevel = 'INFO'\n", "utf-8")

    def indexd(*arguments: str) -> str:
        try:
            done = environment.run("-m", "indexd", "--home", windows_path(home), *arguments, seconds=60)
        except subprocess.TimeoutExpired:
            return "no answer within 60 s"
        return f"{done.stdout.strip()}\n[exit code {done.returncode}]"

    def step(name: str, expected: str, *arguments: str, seconds: float = 60) -> bool:
        deadline = time.monotonic() + seconds
        while expected not in (answer := indexd(*arguments)) and time.monotonic() < deadline:
            time.sleep(1)
        passed = expected in answer
        out.print(f"{'ok  ' if passed else 'FAIL'} {name}", markup=False)
        if not passed:
            out.print(f"     expected {expected!r} in:\n{answer}", markup=False)
        return passed

    with _daemon(environment, home) as process:
        results = [
            step("the daemon answers", "[exit code 0]", "status"),
            step("an image that lay there is found", "before.png", "query", "path:*before*", "--paths"),
        ]
        Image.new("RGB", (64, 64), "blue").save(images / "after.png")
        results += [
            step("an image that comes is found", "after.png", "query", "path:*after*", "--paths", seconds=90),
            step("a rating is stored", "[exit code 0]", "rate", windows_path(images / "after.png"), "5"),
            step("a rating is found", "after.png", "query", "rating:5", "--paths"),
        ]
        (home / "inbox" / "star.yaml").write_text(JOB, "utf-8")
        results += [
            _wait_for("a job without a model is refused with its reason", home / "inbox" / "failed" / "star.yaml"),
            step("the service shows what it would install", "would", "service", "install", "--dry-run"),
            _stops(process, home),
        ]
    shutil.rmtree(home, ignore_errors=True)
    out.print(f"{results.count(True)} passed, {results.count(False)} failed")
    return not all(results)


def _wait_for(name: str, file: Path, seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    out.print(f"{'ok  ' if file.exists() else 'FAIL'} {name}", markup=False)
    return file.exists()


def _stops(process: subprocess.Popen[bytes], home: Path) -> bool:
    """Let the launcher raise SIGBREAK, and wait for a clean end."""
    (home / STOP_FILE).touch()
    started = time.monotonic()
    try:
        code: int | None = process.wait(40)
    except subprocess.TimeoutExpired:
        code = None
    seconds = time.monotonic() - started
    passed = code == 0 and seconds < STOP_SECONDS
    out.print(
        f"{'ok  ' if passed else 'FAIL'} SIGBREAK ends the daemon: exit code {code} after {seconds:.1f} s",
        markup=False,
    )
    return passed


@contextmanager
def _daemon(environment: WindowsEnvironment, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon; STOP_FILE in its home stops it as Ctrl+Break does."""
    command = environment.command(
        windows_path(LAUNCHER), windows_path(home / STOP_FILE), "--home", windows_path(home), "run"
    )
    process = subprocess.Popen(
        command, env=environment.variables(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    # Wine gives Python no usable standard streams when they are files, so a thread copies from the pipe.
    lines: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield process
    finally:
        if process.poll() is None:
            environment.stop_services()
            process.kill()
        reader.join(10)
        out.print(b"".join(lines).decode("utf-8", "replace")[-3000:], markup=False)


if __name__ == "__main__":
    sys.exit(main())
