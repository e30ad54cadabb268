"""Every LoRA there is: the files of the folders together with the entries of the registry."""

from __future__ import annotations

from indexd.catalogue import ModelCatalogue
from indexd.config import Config
from indexd.jobs.lora_registry import LoraRegistry, is_same_lora
from indexd_schemas.replies import ListedLora, LoraList


def list_loras(config: Config) -> LoraList:
    """The files by name, and after them what is registered without a file. Raises SettingsError (a bad registry)."""
    registry = LoraRegistry(config.paths.lora_registry)
    entries = registry.entries()
    found: list[ListedLora] = []
    for file in ModelCatalogue.from_config(config).loras.list_files():
        size = file.path.stat().st_size if file.path.exists() else None
        entry = registry.find(file.name)
        found.append(ListedLora(name=file.name, path=str(file.path), size_bytes=size, registered=entry))
    missing = [name for name in entries if not any(is_same_lora(name, lora.name) for lora in found)]
    found += [ListedLora(name=name, registered=entries[name]) for name in missing]
    return LoraList(registry=str(registry.path), loras=found)
