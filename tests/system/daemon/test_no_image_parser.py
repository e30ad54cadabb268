"""A daemon that reads images, parses stored texts and looks at an input loads no image parser into its own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.image_metadata.writers import png, text
from tests.unit.test_import_layers import PARSERS

SCRIPT = """
import os, sys
from pathlib import Path
from indexd.api.library_changes import reparse_metadata
from indexd.config import read_config
from indexd.daemon import Daemon
from indexd.images.reader_client import read_image_file
from indexd_schemas.api.requests import ReparseRequest

home = Path(sys.argv[1])
daemon = Daemon(read_config(home))
try:
    daemon.scan_once(models=False)
    [row] = daemon.store.images.rows([1]).values()
    print(row.prompt)
    print(reparse_metadata(daemon.store, ReparseRequest(after=0, limit=10, everything=True)).read)
    print(read_image_file(os.fsencode(home / "output" / "a.png")).metadata.seed)
finally:
    daemon.stop()
print([name for name in sys.modules if f"{name}.".startswith(PARSERS)])
"""


def test_reading_images_loads_no_parser_into_the_daemon(tmp_path: Path) -> None:
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(text("parameters", "a duck\nSteps: 20, Sampler: Euler, Seed: 5")))
    script = f"PARSERS = {tuple(f'{name}.' for name in PARSERS)!r}\n{SCRIPT}"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["a duck", "1", "5", "[]"]
