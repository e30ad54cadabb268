"""`control:` and `reference:` of a job -> the controls and references of its recipes, and their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from indexd.jobs.admission.inputs import InputImage
from indexd.jobs.parsing.validation import FieldError, did_you_mean
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.model_files import ModelCatalogue, ModelFile, UnknownModel
from indexd_schemas.control_types import CONTROL_TYPES, ControlType, is_union_name, matches_type
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.job_values import JobControlNet
from indexd_schemas.recipe import ControlRef, ReferenceRef
from indexd_schemas.recipe_part import FileKind, ModelRef


@dataclass(frozen=True, slots=True)
class ConditioningRequest:
    """Controls and references of a recipe, and the images that they go by."""

    control: tuple[ControlRef, ...] = ()
    reference: tuple[ReferenceRef, ...] = ()
    images: tuple[InputImage, ...] = ()


def resolve_conditioning(
    job: Job,
    catalogue: ModelCatalogue,
    preprocessor_models: Mapping[str, str],
    read_image: Callable[[str, FieldPath], InputImage],
    source: InputImage | None,
) -> ConditioningRequest:
    """Look up what a job says under `control` and `reference`. `source` is the job's own input. Raises FieldError.

    `preprocessor_models` are the paths of the models that make control maps, by type ("" = none is set).
    """
    controls: list[ControlRef] = []
    references: list[ReferenceRef] = []
    images: list[InputImage] = []
    for index, options in enumerate(job.control):
        at: FieldPath = ("control", index)
        image = _resolve_image(options.image, at, read_image, source)
        control_type = CONTROL_TYPES[options.type]
        if options.preprocess:
            _check_preprocessor(control_type, preprocessor_models, at)
        controls.append(_control_ref(options, control_type, catalogue, image, at))
        images.append(image)
    for index, reference in enumerate(job.reference):
        at = ("reference", index)
        image = _resolve_image(reference.image, at, read_image, source)
        model = ModelRef(name=_find_ip_adapter(reference.model, catalogue, at).name)
        references.append(
            ReferenceRef(model=model, image=image.content_hash, image_name=image.name, weight=reference.weight)
        )
        images.append(image)
    return ConditioningRequest(tuple(controls), tuple(references), tuple(images))


def _resolve_image(
    image: str | None, at: FieldPath, read_image: Callable[[str, FieldPath], InputImage], source: InputImage | None
) -> InputImage:
    if image is not None:
        return read_image(image, (*at, "image"))
    if source is None:
        raise FieldError(at, f"{at[0]}[{at[1]}]: `image` is missing, and the job has no input; name an image")
    return source


def _check_preprocessor(control_type: ControlType, preprocessor_models: Mapping[str, str], at: FieldPath) -> None:
    key = f"{at[0]}[{at[1]}]"
    if control_type.preprocessor is None:
        raise FieldError(
            (*at, "type"),
            f"{key}.type: nothing here makes {control_type.name} maps; give the map itself as image, with `preprocess: false`",
        )
    setting = f"{control_type.name}_model"
    if control_type.preprocessor not in ("", "opencv"):
        path = preprocessor_models.get(control_type.name, "")
        if not path or not Path(path).exists():
            reason = f"there is nothing at {path}" if path else "none is set"
            raise FieldError(
                (*at, "type"),
                f"{key}.type: {control_type.name} maps need a model, and {reason} ([control] {setting}); "
                "or give the map itself as image, with `preprocess: false`",
            )


def _control_ref(
    options: JobControlNet, control_type: ControlType, catalogue: ModelCatalogue, image: InputImage, at: FieldPath
) -> ControlRef:
    canny = control_type.name == "canny" and options.preprocess
    return ControlRef(
        type=control_type.name,
        model=ModelRef(name=_find_control_net(options.model, control_type, catalogue, at).name),
        image=image.content_hash,
        image_name=image.name,
        strength=options.strength,
        start=options.start,
        end=options.end,
        preprocess=options.preprocess and control_type.preprocessor != "",
        low=options.low if canny else None,
        high=options.high if canny else None,
    )


def _find_control_net(
    name: str | None, control_type: ControlType, catalogue: ModelCatalogue, at: FieldPath
) -> ModelFile:
    """The ControlNet that a control names, or the one whose name says that it is for its type, else the union."""
    key, place = f"{at[0]}[{at[1]}].model", (*at, "model")
    if name is None:
        return _default_control_net(control_type, catalogue, at)
    try:
        found = catalogue.find_usable("controlnet", name)
    except UnknownModel as error:
        raise FieldError(place, f"{key}: {error}{did_you_mean(name, error)}") from None
    known = catalogue.describe(found).control_types
    if known and (control_type.union_index is None or control_type.union_index >= known):
        types = ", ".join(one.name for one in CONTROL_TYPES.values() if (one.union_index or 0) < known and one.words)
        raise FieldError(
            (*at, "type"), f"{at[0]}[{at[1]}].type: {found.name} is a union of {types}; it has no {control_type.name}"
        )
    return found


def _default_control_net(control_type: ControlType, catalogue: ModelCatalogue, at: FieldPath) -> ModelFile:
    files = catalogue.controlnets.list_files()
    found = [file for file in files if matches_type(file.name, control_type) and not is_union_name(file.name)]
    if not found and control_type.union_index is not None:
        described = zip(files, catalogue.verdicts("controlnet", files), strict=True)
        found = [file for file, (one, _) in described if one.control_types > control_type.union_index]
    place, key = at, f"{at[0]}[{at[1]}]"
    if len(found) == 1:
        return _usable("controlnet", found[0], catalogue, place, key)
    if found:
        names = ", ".join(file.name for file in found[:5])
        raise FieldError(
            place, f"{key}: several ControlNets are for {control_type.name}: {names}; choose one with `model`"
        )
    if not files:
        raise FieldError(place, f"{key}: there is no ControlNet; name a folder of them with [control] folders")
    names = ", ".join(file.name for file in files[:5])
    raise FieldError(
        place, f"{key}: no ControlNet's name says that it is for {control_type.name}; name one with `model`: {names}"
    )


def _usable(kind: FileKind, file: ModelFile, catalogue: ModelCatalogue, place: FieldPath, key: str) -> ModelFile:
    """The file that is the only choice. Raises FieldError where it cannot be used."""
    try:
        catalogue.require_usable(kind, file)
    except UnknownModel as error:
        raise FieldError(place, f"{key}: {error}") from None
    return file


def _find_ip_adapter(name: str | None, catalogue: ModelCatalogue, at: FieldPath) -> ModelFile:
    key = f"{at[0]}[{at[1]}]"
    if name is not None:
        try:
            return catalogue.find_usable("ip_adapter", name)
        except UnknownModel as error:
            raise FieldError((*at, "model"), f"{key}.model: {error}{did_you_mean(name, error)}") from None
    files = catalogue.ip_adapters.list_files()
    if len(files) == 1:
        return _usable("ip_adapter", files[0], catalogue, at, key)
    if files:
        names = ", ".join(file.name for file in files[:5])
        raise FieldError(at, f"{key}: there are several IP-Adapters: {names}; choose one with `model`")
    raise FieldError(at, f"{key}: there is no IP-Adapter; name a folder of them with [control] reference_folders")
