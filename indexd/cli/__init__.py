"""The command line. A command imports heavy modules only when it needs them."""

from __future__ import annotations


def main() -> int:
    """Run `indexd` with the arguments of the process. Returns the exit code."""
    import signal
    import sys

    from indexd.fs.private_files import set_private_umask

    # A reload that is requested during the imports is served by reading the settings after them.
    if "run" in sys.argv[1:] and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    set_private_umask()
    from indexd.cli.app import run

    return run()
