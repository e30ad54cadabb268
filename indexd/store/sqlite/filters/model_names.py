"""Names of models as programs write them: with or without folder, file ending and hash."""

from __future__ import annotations

import re
from collections.abc import Callable

from indexd.name_key import name_key
from indexd.store.sqlite.filters.condition_builders import compile_pattern

_HASH = re.compile(r"[0-9a-f]{8,64}", re.IGNORECASE)
_HASH_BEHIND_NAME = re.compile(r"\s*[\[(]([0-9a-f]{6,64})[\])]$", re.IGNORECASE)
_ENDING = re.compile(r"\.(safetensors|ckpt|pth?|bin|gguf|sft|onnx)$", re.IGNORECASE)


def bare_model_name(name: str) -> str:
    """The name without folder, ending and hash: `SDXL\\pony.safetensors [67ab2fd8ec]` is `pony`."""
    last = re.split(r"[\\/]", _HASH_BEHIND_NAME.sub("", name.strip()))[-1].strip()
    return _ENDING.sub("", last) or name


def is_hash(name: str) -> bool:
    """Whether the text is a hash and no name."""
    return _HASH.fullmatch(name.strip()) is not None


def stated_hash(name: str) -> str | None:
    """The hash behind a name, or the text where it is a hash alone; in lower case, None where there is none."""
    text = name.strip()
    behind = _HASH_BEHIND_NAME.search(text)
    if behind:
        return behind[1].lower()
    return text.lower() if is_hash(text) else None


def compile_model_pattern(value: str) -> Callable[[str], bool]:
    """A test for names of models; `*` stands for anything.

    Ending and hash do not count. Folders count where both names state them: `a/pony` is not `b/pony`, but `pony` is either.
    """
    as_written, bare = compile_pattern(value), compile_pattern(bare_model_name(value))
    folder = _folder(value)
    in_folder = compile_pattern(f"*/{folder}")

    def matches(name: str) -> bool:
        if as_written(name):
            return True
        if not bare(bare_model_name(name)):
            return False
        stated = _folder(name)
        if not folder or not stated:
            # `SDXL/*` asks for a folder, so a model without one is no answer.
            return not folder or "*" not in value
        return in_folder(f"/{stated}") or f"/{folder}".endswith(f"/{stated}")

    return matches


def _folder(name: str) -> str:
    """The folders of a name, parted by `/`."""
    return name_key(name.replace("\\", "/").rpartition("/")[0].strip("/"))
