"""`python -m indexd_toyworld.train`: trains every model from scratch, one after the other.

Skips finished models and resumes interrupted ones; delete toyworld/.build to start again.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from rich.console import Console

from indexd_toyworld.model_paths import SHIPPED_WEIGHTS

STEPS = ("clip", "bge", "vae", "unet", "controlnet", "ip_adapter", "lora", "detector", "upscaler")
"""The modules of this folder, each after its dependencies. Each has `train(build, weights, minutes)`."""
BUILD = Path(__file__).resolve().parents[2] / ".build"
DONE_MARKER = "done"
CONTINUABLE = ("clip", "unet")
"""Modules that can continue from written weights."""


def main() -> int:
    """Train all models and print the duration of each."""
    asked = _arguments()
    console = Console()
    for name in asked.only or STEPS:
        folder = asked.build / name
        if (folder / DONE_MARKER).exists() and not asked.only:
            console.print(f"{name}: done already ({folder / DONE_MARKER})")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        more = {"further": True} if asked.further else {}
        importlib.import_module(f"indexd_toyworld.train.{name}").train(folder, asked.weights, asked.minutes, **more)
        (folder / DONE_MARKER).touch()
        console.print(f"{name}: {(time.monotonic() - began) / 60:.1f} minutes")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m indexd_toyworld.train", description=main.__doc__)
    parser.add_argument("--only", choices=STEPS, action="append", help="this model only (may be repeated)")
    parser.add_argument("--minutes", type=float, help="train each of them for so long; default: its own measure")
    parser.add_argument("--build", type=Path, default=BUILD, help="where what is unfinished lies")
    parser.add_argument(
        "--weights", type=Path, default=SHIPPED_WEIGHTS, help="where the models go; default: what ships"
    )
    parser.add_argument(
        "--further",
        action="store_true",
        help=f"begin with the weights that are there and not from nothing; with --only {' or '.join(CONTINUABLE)}",
    )
    asked = parser.parse_args()
    if asked.further and not set(asked.only or STEPS) <= set(CONTINUABLE):
        parser.error(f"--further goes with --only {' or --only '.join(CONTINUABLE)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
