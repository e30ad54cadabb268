"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations


def main() -> int:
    """Run `indexd` with the arguments of the process; the exit code for `sys.exit`."""
    from indexd.cli.app import run

    return run()
