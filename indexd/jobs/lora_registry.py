"""The LoRA registry: a YAML file of a person's own, read behind the same guard as job files, again when it was changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from indexd.errors import Refused, SettingsError, is_machines_fault
from indexd.jobs import guard
from indexd.jobs.diagnose import nearest, reason, shown
from indexd_schemas.lora_registry import RegisteredLora

BOUNDS = guard.Bounds("registry file", 4 << 20, 100_000, 200_000)


class Registry:
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
                self._entries, self._stamp = _read(self.path.read_bytes()), stamp
        except FileNotFoundError:
            self._entries, self._stamp = {}, None
        except OSError as error:
            if is_machines_fault(error):
                raise
            raise SettingsError(f"the LoRA registry {self.path} cannot be read: {error.strerror or error}") from None
        except Refused as error:
            raise SettingsError(f"the LoRA registry {self.path} cannot be used: {error}") from None
        return self._entries

    def of(self, name: str) -> RegisteredLora | None:
        """The entry of the LoRA file called `name`, which may be registered by the last part of its name alone."""
        entries = {_key(key): entry for key, entry in self.entries().items()}
        return entries.get(_key(name)) or entries.get(_key(name).rpartition("/")[2])


def same_lora(registered: str, name: str) -> bool:
    """Whether an entry of this name is about the LoRA file of that name."""
    return _key(registered) in (_key(name), _key(name).rpartition("/")[2])


def _read(source: bytes) -> dict[str, RegisteredLora]:
    document = guard.read(source, BOUNDS)
    entries: dict[str, RegisteredLora] = {}
    names: dict[str, str] = {}
    for name, data in document.data.items():
        other = names.setdefault(_key(name), name)
        if other != name:
            raise Refused(f"{document.key((name,))}: {shown(name)} and {shown(other)} are the same LoRA; keep one")
        try:
            entries[name] = RegisteredLora.model_validate({} if data is None else data)
        except ValidationError as error:
            raise Refused(_sentence(document, name, error.errors()[0])) from None
    return entries


def _sentence(document: guard.Document, name: str, error: Any) -> str:
    path = (name, *error["loc"])
    if error["type"] == "extra_forbidden":
        key, fields = str(path[-1]), list(RegisteredLora.model_fields)
        close = nearest(key, fields, 1)
        hint = f"did you mean `{close[0]}`" if close else f"there are {', '.join(fields)}"
        return f"{document.key(path)}: {name}: there is no key {shown(key)}; {hint}"
    where = ".".join(str(part) for part in error["loc"])
    return f"{document.value(path)}: {name}: {where}{' ' if where else ''}{reason(error)}"


def _key(name: str) -> str:
    return name.replace("\\", "/").strip("/").casefold().removesuffix(".safetensors")
