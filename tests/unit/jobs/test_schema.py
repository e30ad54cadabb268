"""The schema of job files, the handlers, their folder and the generated JSON Schemas say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import indexd_handlers.jobs
from indexd.registry import job_kinds
from indexd_schemas import generate
from indexd_schemas.jobs.job import JOB_KINDS, Job
from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.jobs.job_values import JobLora, JobOutput
from indexd_schemas.jobs.key_synonyms import SYNONYMS


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    models: list[type[BaseModel]] = [*JOB_KINDS.values(), JobLora, JobOutput]
    for model in models:
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field


def _parts(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for part in base.__subclasses__():
        yield part
        yield from _parts(part)


def test_kinds_files_and_handlers_are_the_same_list() -> None:
    folder = Path(indexd_handlers.jobs.__path__[0])
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert set(JOB_KINDS) == set(job_kinds.kinds())
    assert files == {type(handler).__module__.rpartition(".")[2] for handler in job_kinds.kinds().values()}
    assert {name: kind.schema for name, kind in job_kinds.kinds().items()} == dict(JOB_KINDS)


@pytest.mark.parametrize(("name", "field"), list(_fields()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_key_has_a_description_and_an_example(name: str, field: FieldInfo) -> None:
    assert field.description
    assert field.description.endswith(".")
    assert field.examples


@pytest.mark.parametrize("kind", sorted(JOB_KINDS))
def test_the_examples_are_valid(kind: str) -> None:
    model = JOB_KINDS[kind]
    required = {name: (f.examples or [None])[0] for name, f in model.model_fields.items() if f.is_required()}
    for name, field in model.model_fields.items():
        for example in field.examples or []:
            assert isinstance(model.model_validate({**required, name: example}), Job)


def test_suggestions_name_keys_that_exist() -> None:
    whole = {name.partition(".")[2] for name, _ in _fields()}
    parts = {name for part in _parts(JobPart) for name in part.model_fields}
    assert set(SYNONYMS.values()) <= whole | parts
    assert not set(SYNONYMS) & whole


def test_the_json_schemas_are_up_to_date(tmp_path: Path) -> None:
    assert generate.out_of_date() == []
    assert generate.main(["--check"]) == 0
    assert generate.out_of_date(tmp_path) == sorted(generate.schemas(), key=list(generate.schemas()).index)
    assert generate.write(tmp_path) == list(generate.schemas())
    assert generate.write(tmp_path) == []
