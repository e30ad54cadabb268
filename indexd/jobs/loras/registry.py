"""The LoRA registry: a YAML file of a person's own, read behind the same guard as job files, again when it was changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from indexd.config import Config
from indexd.errors import JobRefused, SettingsError, is_transient_os_error
from indexd.jobs.parsing import yaml_guard
from indexd.jobs.parsing.validation import closest_names
from indexd.model_files import list_model_files
from indexd.name_key import name_key
from indexd_schemas.api.responses import ListedLora, LoraList
from indexd_schemas.registered_lora import RegisteredLora
from indexd_schemas.validation_messages import describe_error, quote_value

REGISTRY_FILE_LIMITS = yaml_guard.YamlLimits("registry file", 4 << 20, 100_000, 200_000)


class LoraRegistry:
    """What is registered, by the names of the LoRAs' files; empty where the file is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._entries: dict[str, RegisteredLora] = {}

    def entries(self) -> Mapping[str, RegisteredLora]:
        """Every entry as the file says now. Raises SettingsError with the line of the first mistake."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._entries, self._stamp = _parse(self.path.read_bytes()), stamp
        except FileNotFoundError:
            self._entries, self._stamp = {}, None
        except OSError as error:
            if is_transient_os_error(error):
                raise
            raise SettingsError(f"the LoRA registry {self.path} cannot be read: {error.strerror or error}") from None
        except JobRefused as error:
            raise SettingsError(f"the LoRA registry {self.path} cannot be used: {error}") from None
        return self._entries

    def find(self, name: str) -> RegisteredLora | None:
        """The entry of the LoRA file called `name`, which may be registered by the last part of its name alone."""
        entries = {_normalize(key): entry for key, entry in self.entries().items()}
        return entries.get(_normalize(name)) or entries.get(_normalize(name).rpartition("/")[2])


def is_same_lora(registered: str, name: str) -> bool:
    """Whether an entry of this name is about the LoRA file of that name."""
    return _normalize(registered) in (_normalize(name), _normalize(name).rpartition("/")[2])


def _parse(source: bytes) -> dict[str, RegisteredLora]:
    document = yaml_guard.parse_yaml(source, REGISTRY_FILE_LIMITS)
    entries: dict[str, RegisteredLora] = {}
    names: dict[str, str] = {}
    for name, data in document.data.items():
        other = names.setdefault(_normalize(name), name)
        if other != name:
            raise JobRefused(
                f"{document.key_position((name,))}: {quote_value(name)} and {quote_value(other)} are the same LoRA; keep one"
            )
        try:
            entries[name] = RegisteredLora.model_validate({} if data is None else data)
        except ValidationError as error:
            raise JobRefused(_error_message(document, name, error.errors()[0])) from None
    return entries


def _error_message(document: yaml_guard.YamlDocument, name: str, error: Any) -> str:
    path = (name, *error["loc"])
    if error["type"] == "extra_forbidden":
        key, fields = str(path[-1]), list(RegisteredLora.model_fields)
        close = closest_names(key, fields, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(fields)}"
        return f"{document.key_position(path)}: {name}: there is no key {quote_value(key)}; {hint}"
    where = ".".join(str(part) for part in error["loc"])
    return f"{document.value_position(path)}: {name}: {where}{' ' if where else ''}{describe_error(error)}"


def _normalize(name: str) -> str:
    return name_key(name.replace("\\", "/").strip("/")).removesuffix(".safetensors")


# Every LoRA there is: the files of the folders together with the entries of the registry.


def list_loras(config: Config) -> LoraList:
    """The files by name, and after them what is registered without a file. Raises SettingsError (a bad registry)."""
    registry = LoraRegistry(config.paths.lora_registry)
    entries = registry.entries()
    found: list[ListedLora] = []
    for file in list_model_files(config, ["lora"]):
        path, entry = Path(file.path), registry.find(file.name)
        size = path.stat().st_size if path.exists() else None
        found.append(
            ListedLora(
                name=file.name,
                path=file.path,
                size_bytes=size,
                description=file.description,
                problem=file.problem,
                registered=entry,
            )
        )
    missing = [name for name in entries if not any(is_same_lora(name, lora.name) for lora in found)]
    found += [ListedLora(name=name, registered=entries[name]) for name in missing]
    return LoraList(registry=str(registry.path), loras=found)
