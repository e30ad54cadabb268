"""The model files that jobs may name by the folders of the settings: checkpoints, LoRAs, VAEs, embeddings, upscalers,
detectors, ControlNets and IP-Adapters.

A name is the path below its folder without the ending; the last part of it alone is enough where that is unambiguous.
Letter case and Unicode form (NFC, NFD) do not matter. The folders are listed when a name is not known or its file is gone, so a file that was just
copied in is found and nothing is read in between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexd.config import Config
from indexd.errors import IndexdError, is_resource_shortage
from indexd.model_headers.description import ModelDescription
from indexd.model_headers.verdict import find_unusable_reason
from indexd.model_inspection.inspector import describe_model_files
from indexd.model_roles import downloaded_model_folder
from indexd.name_key import name_key
from indexd_schemas.api.responses import ListedModelFile
from indexd_schemas.recipe_part import FileKind, ModelRef

WEIGHTS_SUFFIXES = (".safetensors",)
PICKLE_SUFFIXES = (".ckpt", ".pt")
EMBEDDING_PICKLE_SUFFIXES = (".pt", ".bin")
UPSCALER_PICKLE_SUFFIXES = (".pth",)
DETECTOR_SUFFIXES = (".pt",)
REFUSED_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
"""Endings of weights. A job that names such a file, and no usable one has that name, is told what is wrong with it."""
DIFFUSERS_INDEX = "model_index.json"
CONFIG_FOLDER_SUFFIX = ".config"
"""A folder of this name beside a checkpoint file is the configuration of that file."""
MODULE_CONFIG = "config.json"
CHECKPOINT_NOUN = "checkpoint"


class UnknownModel(IndexdError):
    """No model file has this name; `known` are the names there are."""

    def __init__(self, text: str, known: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.known = tuple(known)


class UnusableModel(UnknownModel):
    """A file has this name, and it cannot be used as what it is named for; the text says why."""


# A1111 writes the start of a checkpoint's hash after its name, and accepts both in its settings.
_HASH_AFTER_NAME = re.compile(r"\s*\[([0-9a-fA-F]{6,64})\]$")
# The start of a file's SHA-256 that A1111 shows, and all of it. Its older hashes of eight digits are of a part of the file.
_COMPARED_DIGITS = (10, 64)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checkpoint (file or diffusers folder) or a LoRA file, and its name in jobs and images."""

    name: str
    path: Path


class ModelFolders:
    """The model files below some folders, by name."""

    def __init__(
        self,
        noun: str,
        folders: Iterable[str | Path],
        suffixes: Sequence[str],
        extra_files: Sequence[Path] = (),
        marker_file: str = "",
        section: str = "generate",
    ) -> None:
        """`suffixes` are the endings of single files; `extra_files` are files or folders that are always known.

        A folder with a file called `marker_file` is one model; `-name` = a folder with a file of that name has none.
        """
        self._noun = noun
        self._folders = [Path(folder) for folder in folders]
        self._suffixes = tuple(suffixes)
        self._extra_files = extra_files
        self._marker_file = marker_file
        self._section = section
        self._files: dict[str, list[ModelFile]] = {}
        self._unlisted: dict[str, ModelFile] = {}

    @property
    def noun(self) -> str:
        """What the files are called in errors."""
        return self._noun

    def find_unlisted(self, name: str) -> ModelFile | None:
        """A file of weights called `name` whose ending is not one of those that are listed, as of the last `find`."""
        key = _normalize_name(_HASH_AFTER_NAME.sub("", name))
        suffix = next((end for end in REFUSED_SUFFIXES if key.endswith(end)), "")
        found = self._unlisted.get(key) or self._unlisted.get(key.removesuffix(suffix))
        return found if found is not None and found.path.exists() else None

    def find(self, name: str) -> ModelFile:
        """The file called `name`. Raises UnknownModel, also where several files have that name."""
        found = self._lookup(name)
        if len(found) != 1 or not found[0].path.exists():
            self._refresh()
            found = self._lookup(name)
        if not found:
            raise UnknownModel(f"there is no {self._noun} {name!r}{self._folders_text()}", self.names())
        if len(found) > 1:
            choices = " or ".join(repr(file.name) for file in found[:4])
            raise UnknownModel(f"{self._noun} {name!r} could be {choices}; write one of these", [f.name for f in found])
        return found[0]

    def names(self) -> list[str]:
        """Every name, as last listed."""
        return sorted({file.name for files in self._files.values() for file in files})

    def list_files(self) -> list[ModelFile]:
        """Every file, listed anew, by name."""
        self._refresh()
        found = {file.path: file for files in self._files.values() for file in files}
        return sorted(found.values(), key=lambda file: (name_key(file.name), file.path))

    def _lookup(self, name: str) -> list[ModelFile]:
        """The files of that name; A1111's hash after it does not count, unless a file is called like that."""
        return self._lookup_exactly(name) or self._lookup_exactly(_HASH_AFTER_NAME.sub("", name))

    def _lookup_exactly(self, name: str) -> list[ModelFile]:
        key = _normalize_name(name)
        for suffix in (*self._suffixes, ""):
            if suffix == "" or key.endswith(suffix):
                found = self._files.get(key.removesuffix(suffix), [])
                exact = [file for file in found if _normalize_name(file.name) == key.removesuffix(suffix)]
                if found:
                    return exact if len(exact) == 1 else found
        return []

    def _refresh(self) -> None:
        files: dict[str, list[ModelFile]] = {}
        self._unlisted = {}
        for file in self._walk():
            for key in {_normalize_name(file.name), _normalize_name(file.name.rpartition("/")[2])}:
                if all(known.path != file.path for known in files.setdefault(key, [])):
                    files[key].append(file)
        self._files = files

    def _walk(self) -> Iterator[ModelFile]:
        yield from (model_file_at(path) for path in self._extra_files if path.exists())
        for folder in self._folders:
            seen: set[str] = set()
            for here, below, names in os.walk(folder, onerror=_raise_if_shortage, followlinks=True):
                real = os.path.realpath(here)
                if real in seen:  # a link that leads back
                    below.clear()
                    continue
                seen.add(real)
                if self._marker_file and self._marker_file.removeprefix("-") in names:
                    below.clear()
                    if not self._marker_file.startswith("-"):
                        yield self._model_file(folder, Path(here), "")
                    continue
                below[:] = sorted(
                    name for name in below if not name.startswith(".") and not _is_configuration(name, names)
                )
                yield from self._files_in(folder, Path(here), names)

    def _files_in(self, folder: Path, here: Path, names: Iterable[str]) -> Iterator[ModelFile]:
        for name in sorted(names):
            suffix = next((end for end in self._suffixes if name.lower().endswith(end)), None)
            if name.startswith("."):
                continue
            if suffix is not None:
                yield self._model_file(folder, here / name, suffix)
            elif name.lower().endswith(REFUSED_SUFFIXES):
                self._note_unlisted(self._model_file(folder, here / name, ""))

    def _note_unlisted(self, file: ModelFile) -> None:
        stem = file.name.rpartition(".")[0]
        for name in (file.name, stem, file.name.rpartition("/")[2], stem.rpartition("/")[2]):
            self._unlisted.setdefault(_normalize_name(name), file)

    def _model_file(self, folder: Path, path: Path, suffix: str) -> ModelFile:
        name = path.relative_to(folder).as_posix() if path != folder else path.name
        return ModelFile(name[: len(name) - len(suffix)] if suffix else name, path)

    def _folders_text(self) -> str:
        folders = ", ".join(str(folder) for folder in self._folders)
        return f" in {folders}" if folders else f"; no {self._noun} folder is named in the settings ([{self._section}])"


class ModelCatalogue:
    """All model files by name, and the checkpoint that a job gets which names none."""

    def __init__(
        self,
        checkpoint_folders: Sequence[str | Path] = (),
        lora_folders: Sequence[str | Path] = (),
        default: Path | None = None,
        allow_pickles: bool = False,
        vae_folders: Sequence[str | Path] = (),
        embedding_folders: Sequence[str | Path] = (),
        upscaler_folders: Sequence[str | Path] = (),
        detector_folders: Sequence[str | Path] = (),
        detectors: Sequence[Path] = (),
        control_folders: Sequence[str | Path] = (),
        reference_folders: Sequence[str | Path] = (),
        cache_folder: Path | None = None,
    ) -> None:
        """`cache_folder` keeps what headers tell; None = this process alone remembers it. `default` is the file or folder of the `generator` role, None = the role has none; `detectors` are those of [faces]."""
        suffixes = (*WEIGHTS_SUFFIXES, *PICKLE_SUFFIXES) if allow_pickles else WEIGHTS_SUFFIXES
        self._default = default
        self._cache_folder = cache_folder
        self.checkpoints = ModelFolders(
            CHECKPOINT_NOUN, checkpoint_folders, suffixes, () if default is None else (default,), DIFFUSERS_INDEX
        )
        self.loras = ModelFolders("LoRA", lora_folders, WEIGHTS_SUFFIXES)
        self.vaes = ModelFolders("VAE", vae_folders, WEIGHTS_SUFFIXES)
        # Pickles are listed whatever the setting: a prompt that names one is refused, which is better than a silent word.
        self.embeddings = ModelFolders("embedding", embedding_folders, (*WEIGHTS_SUFFIXES, *EMBEDDING_PICKLE_SUFFIXES))
        self.upscalers = ModelFolders(
            "upscaler",
            upscaler_folders,
            (*WEIGHTS_SUFFIXES, *UPSCALER_PICKLE_SUFFIXES) if allow_pickles else WEIGHTS_SUFFIXES,
        )
        # Their files are read with weights only, whatever the setting (indexd/models/detector.py).
        self.detectors = ModelFolders("detector", detector_folders, DETECTOR_SUFFIXES, detectors)
        self.allows_pickles = allow_pickles
        self.controlnets = ModelFolders("ControlNet", control_folders, WEIGHTS_SUFFIXES, (), MODULE_CONFIG, "control")
        # The folders with a configuration are image encoders.
        self.ip_adapters = ModelFolders(
            "IP-Adapter", reference_folders, WEIGHTS_SUFFIXES, (), f"-{MODULE_CONFIG}", "control"
        )

    @classmethod
    def from_config(cls, config: Config) -> ModelCatalogue:
        """The catalogue of the settings."""
        settings, role = config.settings.generate, config.settings.models.generator
        default = Path(role.path) if role.path else None
        if default is None and role.hub:
            default = downloaded_model_folder(config, role.hub)
        return cls(
            settings.checkpoint_folders,
            settings.lora_folders,
            default,
            settings.pickle_checkpoints,
            settings.vae_folders,
            settings.embedding_folders,
            settings.upscaler_folders,
            settings.detector_folders,
            [Path(one.path) for one in config.settings.faces.detectors],
            config.settings.control.folders,
            config.settings.control.reference_folders,
            config.paths.cache,
        )

    def default_checkpoint(self) -> ModelFile:
        """The checkpoint of the `generator` role, there or not. Raises UnknownModel when the role has none."""
        if self._default is None:
            raise UnknownModel(
                "no checkpoint is named; name one with `model:`, or set [models.generator] path in the settings"
            )
        return model_file_at(self._default)

    def checkpoint(self, name: str) -> ModelFile:
        """The checkpoint called `name`. Raises UnknownModel."""
        if self._default is None or name != model_file_at(self._default).name:
            return self.checkpoints.find(name)
        if not self._default.exists():
            raise UnknownModel(f"the checkpoint {self._default} of [models.generator] is not there")
        return model_file_at(self._default)

    def find(self, kind: FileKind, name: str) -> ModelFile:
        """The model file of a kind by its name. Raises UnknownModel."""
        return self.checkpoint(name) if kind == "checkpoint" else self.folders(kind).find(name)

    def find_usable(self, kind: FileKind, name: str) -> ModelFile:
        """The model file of a kind by its name, for admission: its header is looked at.

        Raises UnknownModel, or UnusableModel where nothing of this name can be used. What the disk cannot read now passes.
        """
        try:
            file = self.find(kind, name)
        except UnknownModel as unknown:
            unlisted = self.folders(kind).find_unlisted(name)
            reason = None if unlisted is None else self.unusable_reason(kind, unlisted)
            if unlisted is None or reason is None or isinstance(unknown, UnusableModel):
                raise
            raise UnusableModel(f"{self.folders(kind).noun} {unlisted.name!r} {reason}") from None
        self.require_usable(kind, file)
        return file

    def find_reference(self, kind: FileKind, name: str) -> ModelRef:
        """What a recipe states of the model `name`: with a hash after it, the worker compares the file with that.

        Raises as `find_usable`.
        """
        file = self.find_usable(kind, name)
        stated = None if _HASH_AFTER_NAME.search(file.name) else _HASH_AFTER_NAME.search(name)
        if stated is None or len(stated[1]) not in _COMPARED_DIGITS or not file.path.is_file():
            return ModelRef(name=file.name)
        return ModelRef(name=file.name, hash=stated[1][:10].lower())

    def require_usable(self, kind: FileKind, file: ModelFile) -> None:
        """Raises UnusableModel with what speaks against the file. One that is not there, or cannot be read now, passes."""
        if file.path.exists() and (reason := self.unusable_reason(kind, file)) is not None:
            raise UnusableModel(f"{self.folders(kind).noun} {file.name!r} {reason}")

    def has_own_vae(self, checkpoint: str) -> bool:
        """Whether a checkpoint brings a VAE, as far as its header tells. Raises UnknownModel."""
        file = self.checkpoint(checkpoint)
        found = self.describe(file) if file.path.exists() else None
        return found is None or found.has_vae or found.kind != "checkpoint"

    def unusable_reason(self, kind: FileKind, file: ModelFile) -> str | None:
        """Why a file cannot be used as `kind`, as a predicate; None where its header tells nothing against it."""
        return self.verdicts(kind, [file])[0][1]

    def describe(self, file: ModelFile) -> ModelDescription:
        """What the header of a file tells about it."""
        return describe_model_files([file.path], self._cache_folder)[0]

    def verdicts(self, kind: FileKind, files: Sequence[ModelFile]) -> list[tuple[ModelDescription, str | None]]:
        """The description of each file and why it cannot be used as `kind` (None = nothing speaks against it)."""
        return [
            (found, find_unusable_reason(kind, found, pickles_allowed=self.allows_pickles))
            for found in describe_model_files([file.path for file in files], self._cache_folder)
        ]

    def folders(self, kind: FileKind) -> ModelFolders:
        """The folders of the models of a kind."""
        folders: Mapping[FileKind, ModelFolders] = {
            "checkpoint": self.checkpoints,
            "vae": self.vaes,
            "lora": self.loras,
            "embedding": self.embeddings,
            "controlnet": self.controlnets,
            "ip_adapter": self.ip_adapters,
            "upscaler": self.upscalers,
            "detector": self.detectors,
        }
        return folders[kind]


# The order of lists; LoRAs, which can be thousands, have a list of their own.
LISTED_KINDS: tuple[FileKind, ...] = (
    "checkpoint",
    "vae",
    "embedding",
    "upscaler",
    "detector",
    "controlnet",
    "ip_adapter",
)


def list_model_files(config: Config, kinds: Sequence[FileKind] = LISTED_KINDS) -> list[ListedModelFile]:
    """The model files of the settings' folders by kind and name, each with what its header tells and admission's verdict."""
    catalogue = ModelCatalogue.from_config(config)
    listed: list[ListedModelFile] = []
    for kind in kinds:
        files = catalogue.folders(kind).list_files()
        listed += [
            ListedModelFile(kind=kind, name=file.name, path=str(file.path), description=found.summary, problem=reason)
            for file, (found, reason) in zip(files, catalogue.verdicts(kind, files), strict=True)
        ]
    return listed


def model_file_at(path: Path) -> ModelFile:
    """A model named by its own file or folder name."""
    suffix = path.suffix if path.suffix.lower() in (*WEIGHTS_SUFFIXES, *PICKLE_SUFFIXES) else ""
    return ModelFile(path.name.removesuffix(suffix), path)


def _is_configuration(folder: str, files: Sequence[str]) -> bool:
    """Whether a folder is the configuration of a checkpoint file beside it."""
    if not folder.endswith(CONFIG_FOLDER_SUFFIX):
        return False
    stem = folder.removesuffix(CONFIG_FOLDER_SUFFIX)
    return any(stem + suffix in files for suffix in (*WEIGHTS_SUFFIXES, *PICKLE_SUFFIXES))


def _normalize_name(name: str) -> str:
    return name_key(name.replace("\\", "/").strip("/"))


def _raise_if_shortage(error: OSError) -> None:
    """A folder that is away has no files for now; that this process is short of handles or memory says nothing of files."""
    if is_resource_shortage(error):
        raise error
