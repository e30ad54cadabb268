"""What a job says under `control:` and `reference:` -> entries of its recipes, and the paths of their pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from indexd.catalogue import MODULE_CONFIG, Catalogue, ModelFile, UnknownModel
from indexd.jobs.diagnose import FieldProblem
from indexd.jobs.inputs import InputPicture, Place
from indexd.jobs.wording import offer
from indexd_schemas.control import TYPES, ControlType, fits, says_union
from indexd_schemas.job import ControlOf, Job
from indexd_schemas.recipe import ControlRef, ModelRef, ReferenceRef

_UNION_TYPES = 6
_HEADER_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class GuideWishes:
    """Entries of the recipe; `paths` are those of the pictures: the controls' and the references'."""

    control: tuple[ControlRef, ...]
    reference: tuple[ReferenceRef, ...]
    paths: tuple[tuple[str, ...], tuple[str, ...]]


def guides_of(
    job: Job,
    catalogue: Catalogue,
    makers: Mapping[str, str],
    picture: Callable[[str, Place], InputPicture],
    source: InputPicture | None,
) -> GuideWishes:
    """The wishes of a job, looked up. `makers` are the paths of the models that make maps, by type ("" = none is set);
    `source` is the job's own picture. Raises FieldProblem.
    """
    controls, references, pictures = [], [], ([], [])  # type: ignore[var-annotated]
    for index, wanted in enumerate(job.control):
        at: Place = ("control", index)
        seen = _seen(wanted.image, at, picture, source)
        kind = TYPES[wanted.type]
        if wanted.preprocess:
            _check_maker(kind, makers, at)
        controls.append(_control(wanted, kind, catalogue, seen, at))
        pictures[0].append(seen.path)
    for index, reference in enumerate(job.reference):
        at = ("reference", index)
        seen = _seen(reference.image, at, picture, source)
        model = ModelRef(name=_adapter(reference.model, catalogue, at).name)
        references.append(
            ReferenceRef(model=model, image=seen.content_hash, image_name=seen.name, weight=float(reference.weight))
        )
        pictures[1].append(seen.path)
    return GuideWishes(tuple(controls), tuple(references), (tuple(pictures[0]), tuple(pictures[1])))


def _seen(
    image: str | None, at: Place, picture: Callable[[str, Place], InputPicture], source: InputPicture | None
) -> InputPicture:
    if image is not None:
        return picture(image, (*at, "image"))
    if source is None:
        raise FieldProblem(at, f"{at[0]}[{at[1]}]: `image` is missing, and the job has no input; name a picture")
    return source


def _check_maker(kind: ControlType, makers: Mapping[str, str], at: Place) -> None:
    key = f"{at[0]}[{at[1]}]"
    if kind.maker is None:
        raise FieldProblem(
            (*at, "type"),
            f"{key}.type: nothing here makes {kind.name} maps; give the map itself as image, with `preprocess: false`",
        )
    setting = f"{kind.name}_model"
    if kind.maker not in ("", "opencv"):
        path = makers.get(kind.name, "")
        if not path or not Path(path).exists():
            reason = f"there is nothing at {path}" if path else "none is set"
            raise FieldProblem(
                (*at, "type"),
                f"{key}.type: {kind.name} maps need a model, and {reason} ([control] {setting}); "
                "or give the map itself as image, with `preprocess: false`",
            )


def _control(wanted: ControlOf, kind: ControlType, catalogue: Catalogue, seen: InputPicture, at: Place) -> ControlRef:
    canny = kind.name == "canny" and wanted.preprocess
    return ControlRef(
        type=kind.name,
        model=ModelRef(name=_control_net(wanted.model, kind, catalogue, at).name),
        image=seen.content_hash,
        image_name=seen.name,
        strength=float(wanted.strength),
        start=float(wanted.start),
        end=float(wanted.end),
        preprocess=wanted.preprocess and kind.maker != "",
        low=wanted.low if canny else None,
        high=wanted.high if canny else None,
    )


def _control_net(name: str | None, kind: ControlType, catalogue: Catalogue, at: Place) -> ModelFile:
    """The ControlNet that a control names, or the one whose name says that it is for its type, else the union."""
    key, place = f"{at[0]}[{at[1]}].model", (*at, "model")
    if name is None:
        return _fitting(kind, catalogue, at)
    try:
        found = catalogue.control(name)
    except UnknownModel as error:
        raise FieldProblem(place, f"{key}: {error}{offer(name, error)}") from None
    known = _union_types(found)
    if known and (kind.union_index is None or kind.union_index >= known):
        types = ", ".join(one.name for one in TYPES.values() if (one.union_index or 0) < known and one.words)
        raise FieldProblem(
            (*at, "type"), f"{at[0]}[{at[1]}].type: {found.name} is a union of {types}; it has no {kind.name}"
        )
    return found


def _fitting(kind: ControlType, catalogue: Catalogue, at: Place) -> ModelFile:
    there = catalogue.controls.listed()
    found = [file for file in there if fits(file.name, kind) and not says_union(file.name)]
    if not found and kind.union_index is not None:
        found = [file for file in there if _union_types(file) > kind.union_index]
    place, key = at, f"{at[0]}[{at[1]}]"
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found[:5])
        raise FieldProblem(place, f"{key}: several ControlNets are for {kind.name}: {names}; choose one with `model`")
    if not there:
        raise FieldProblem(place, f"{key}: there is no ControlNet; name a folder of them with [control] folders")
    names = ", ".join(file.name for file in there[:5])
    raise FieldProblem(
        place, f"{key}: no ControlNet's name says that it is for {kind.name}; name one with `model`: {names}"
    )


def _adapter(name: str | None, catalogue: Catalogue, at: Place) -> ModelFile:
    key = f"{at[0]}[{at[1]}]"
    if name is not None:
        try:
            return catalogue.reference(name)
        except UnknownModel as error:
            raise FieldProblem((*at, "model"), f"{key}.model: {error}{offer(name, error)}") from None
    there = catalogue.references.listed()
    if len(there) == 1:
        return there[0]
    if there:
        names = ", ".join(file.name for file in there[:5])
        raise FieldProblem(at, f"{key}: there are several IP-Adapters: {names}; choose one with `model`")
    raise FieldProblem(at, f"{key}: there is no IP-Adapter; name a folder of them with [control] reference_folders")


def _union_types(file: ModelFile) -> int:
    """How many types a ControlNet-union knows, from its configuration or the header of its file; 0 = it is none."""
    try:
        if file.path.is_dir():
            config = json.loads((file.path / MODULE_CONFIG).read_text("utf-8"))
            if "num_control_type" not in config and config.get("_class_name") != "ControlNetUnionModel":
                return 0
            return int(config.get("num_control_type", _UNION_TYPES))
        with file.path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length <= _HEADER_BYTES else {}
        return int(header["task_embedding"]["shape"][0]) if "task_embedding" in header else 0
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return 0
