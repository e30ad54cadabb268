"""Runs under Windows: runs indexd with the given arguments, and raises SIGBREAK once the file of the first one is there.

A console turns Ctrl+Break into SIGBREAK; Wine without a screen has no console to press it in.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from indexd.cli import main


def _raise_once_there(file: Path) -> None:
    while not file.exists():
        time.sleep(0.2)
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGBREAK)


if __name__ == "__main__":
    threading.Thread(target=_raise_once_there, args=(Path(sys.argv.pop(1)),), daemon=True).start()
    sys.exit(main())
