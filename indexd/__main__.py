"""`python -m indexd` is the `indexd` command."""

from __future__ import annotations

import sys

from indexd.cli import main

if __name__ == "__main__":
    sys.exit(main())
