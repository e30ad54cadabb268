"""Checks the LoRA registry: it is readable, and its files exist."""

from __future__ import annotations

from collections.abc import Iterator

from indexd.config import Config
from indexd.doctor.finding import DoctorFinding, failed, ok, warning
from indexd.errors import IndexdError
from indexd.jobs.loras.registry import list_loras


def check_loras(config: Config) -> Iterator[DoctorFinding]:
    """Check the registry; yields nothing without LoRAs."""
    try:
        found = list_loras(config)
    except IndexdError as error:
        yield failed("loras", str(error), "correct the file; docs/loras.md describes the format")
        return
    missing = [lora.name for lora in found.loras if lora.path is None]
    if missing:
        text = f"{len(missing)} registered LoRAs have no file, the first is {missing[0]}"
        yield warning("loras", text, f"put the file into a LoRA folder, or remove the entry from {found.registry}")
    elif found.loras:
        registered = sum(lora.registered is not None for lora in found.loras)
        yield ok("loras", f"{len(found.loras)}, of which {registered} registered in {found.registry}")
