"""A guarded document -> a typed job, or every mistake in it as a sentence with line, column and what to change."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model

from indexd.errors import JobRefused
from indexd.jobs.parsing.quoting import quoting_advice
from indexd.jobs.parsing.yaml_guard import FieldPath, YamlDocument
from indexd.model_files import UnknownModel
from indexd.render_stages.stage import RenderStage, render_stages
from indexd_schemas.jobs.job import JobBase
from indexd_schemas.jobs.key_synonyms import SYNONYMS
from indexd_schemas.jobs.stages import Stages
from indexd_schemas.validation_messages import describe_error, quote_value

if TYPE_CHECKING:
    from indexd.jobs.kinds import JobKind

JobT = TypeVar("JobT", bound=JobBase)

MAX_MESSAGES = 10


class FieldError(Exception):
    """Something is wrong with the value at `path` of the job file; the text is the sentence without the place."""

    def __init__(self, path: FieldPath, text: str) -> None:
        super().__init__(text)
        self.path = path


def parse_job(document: YamlDocument, kinds: Mapping[str, JobKind[Any]]) -> JobBase:
    """The job in `document` by the schema of its kind. Raises JobRefused, one sentence a line."""
    kind = document.data.get("kind")
    if "kind" not in document.data:
        close = difflib.get_close_matches("kind", document.data, n=1) or [key for key in document.data if key == "type"]
        hint = f"did you mean `kind` by {close[0]!r}? Write" if close else "write"
        raise JobRefused(f"{document.key_position(())}: `kind` is missing; {hint} one of {', '.join(sorted(kinds))}")
    if not isinstance(kind, str) or kind not in kinds:
        raise build_refusal(
            document, [FieldError(("kind",), f"there is no kind {quote_value(kind)}; {_suggestion(str(kind), kinds)}")]
        )
    schema: type[JobBase] = kinds[kind].schema
    model = with_added_stages(schema)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise build_refusal(document, [_field_error(model, document, entry) for entry in error.errors()]) from None


def with_added_stages(schema: type[JobT]) -> type[JobT]:
    """The schema of renders with the keys of the render stages that other packages registered; others as they are."""
    fields: dict[str, Any] = {}
    stages: tuple[RenderStage[Any, Any], ...] = render_stages() if issubclass(schema, Stages) else ()
    for stage in stages:
        if stage.name not in schema.model_fields:
            of_key: Any = list[stage.options] if stage.is_list else stage.options | None  # type: ignore[name-defined]
            default: Any = Field(default_factory=list) if stage.is_list else Field(None)
            fields[stage.name] = (of_key, default)
    return create_model(schema.__name__, __base__=schema, **fields) if fields else schema


def build_refusal(document: YamlDocument, problems: Iterable[FieldError]) -> JobRefused:
    """The problems as one error, in the order of the file."""
    placed = sorted((_position(document, problem), str(problem)) for problem in problems)
    lines = [f"{mark}: {text}" for mark, text in placed]
    if len(lines) > MAX_MESSAGES:
        lines[MAX_MESSAGES:] = [f"… and {len(lines) - MAX_MESSAGES} more"]
    return JobRefused("\n".join(lines))


def format_path(path: FieldPath) -> str:
    """A place in a job file as it is written in a sentence: `loras[0].weight`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def closest_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that look most like `name`, best first; letter case and separators count little."""
    names = {_folded(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(_folded(name)[:100], names, n=count, cutoff=0.55)
    return [names[match] for match in close]


def did_you_mean(name: str, error: UnknownModel) -> str:
    """The nearest names as the end of a sentence; "" where there are none."""
    close = closest_names(name, error.known)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close and name not in close else ""


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = closest_names(name[:100], known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def _position(document: YamlDocument, problem: FieldError) -> Any:
    at_key = isinstance(problem, _KeyFieldError)
    return document.key_position(problem.path) if at_key else document.value_position(problem.path)


class _KeyFieldError(FieldError):
    """The key itself is wrong, not its value."""


def _field_error(model: type[JobBase], document: YamlDocument, error: Any) -> FieldError:
    path: FieldPath = tuple(error["loc"])
    name = format_path(path)
    if error["type"] == "extra_forbidden":
        return _KeyFieldError(path, _unknown_key(model, path))
    if error["type"] == "missing":
        return _KeyFieldError(path[:-1], f"`{name}` is missing{_similar_key_hint(model, document, path)}")
    text = f"{name}: {describe_error(error)}"
    if error["type"] == "string_type" and isinstance(error.get("input"), (list, dict)):
        text += f"; {quoting_advice(document.line_of(path))}"
    return FieldError(path, text)


def _unknown_key(model: type[JobBase], path: FieldPath) -> str:
    key, fields = str(path[-1]), list(_model_at(model, path[:-1]).model_fields)
    place = f" in {format_path(path[:-1])}" if len(path) > 1 else ""
    synonym = SYNONYMS.get(key.casefold())
    if synonym in fields:
        return f"there is no key {quote_value(key)}{place}; here it is called `{synonym}`"
    close = closest_names(key, fields, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(fields)}"
    return f"there is no key {quote_value(key)}{place}; {hint}"


def _similar_key_hint(model: type[JobBase], document: YamlDocument, path: FieldPath) -> str:
    around: Any = document.data
    for part in path[:-1]:
        around = around[part]
    unknown = [key for key in around if key not in _model_at(model, path[:-1]).model_fields]
    given = next((key for key in unknown if SYNONYMS.get(key.casefold()) == path[-1]), None)
    close = [given] if given else closest_names(str(path[-1]), unknown, 1)
    return f"; did you mean it by {quote_value(close[0])}?" if close else ""


def _model_at(model: type[BaseModel], path: FieldPath) -> type[BaseModel]:
    """The model of the part at `path`: lists and optional parts are looked through."""
    for part in path:
        if isinstance(part, int):
            continue
        found = _model_in(model.model_fields[part].annotation)
        if found is None:
            break
        model = found
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := _model_in(inner)) is not None), None)
