"""Writes the JSON Schemas of job files, settings and JSON output: `python -m indexd_schemas.generate [--check]`.

The files are `schemas/json/*.schema.json`. --check writes nothing and exits with 1 when a file is stale. Editors use
`job.schema.json` to complete and check job files.
"""

from __future__ import annotations

import argparse
import functools
import json
import operator
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.json_schema import models_json_schema

from indexd_schemas.api import library_reports, output
from indexd_schemas.api.annotations import AnnotationRecord
from indexd_schemas.jobs.job import JOB_KINDS
from indexd_schemas.settings import Settings

FOLDER = Path(__file__).parents[1] / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by file name."""
    kinds: Any = functools.reduce(operator.or_, JOB_KINDS.values())
    of_kind: Any = Annotated[kinds, Field(discriminator="kind")]
    job: TypeAdapter[Any] = TypeAdapter(of_kind)
    documents = sorted(_documents(), key=lambda model: model.__name__)
    _, printed = models_json_schema([(model, "serialization") for model in documents], title="JSON printed by indexd")
    return {
        "job.schema.json": {"title": "Job file of indexd", **job.json_schema()},
        "marks.schema.json": AnnotationRecord.model_json_schema(),
        "settings.schema.json": Settings.model_json_schema(),
        "output.schema.json": printed | {"anyOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in documents]},
    }


def text(schema: dict[str, Any]) -> str:
    """The JSON text of a schema."""
    return json.dumps({"$schema": DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"


def out_of_date(folder: Path = FOLDER) -> list[str]:
    """Names of schema files that differ from the models."""

    def current(path: Path) -> str:
        return path.read_text("utf-8") if path.exists() else ""

    return [name for name, schema in schemas().items() if current(folder / name) != text(schema)]


def write(folder: Path = FOLDER) -> list[str]:
    """Update the files. Returns the names of changed ones."""
    stale = out_of_date(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (folder / name).write_text(text(schemas()[name]), "utf-8", newline="\n")
    return stale


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="indexd_schemas.generate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is out of date; exit code 1 if anything is")
    check = parser.parse_args(arguments).check
    stale = out_of_date() if check else write()
    for name in stale:
        sys.stdout.write(f"{name} {'is out of date; run python -m indexd_schemas.generate' if check else 'written'}\n")
    return 1 if check and stale else 0


def _documents() -> list[type[output.OutputDocument]]:
    values = (value for module in (output, library_reports) for value in vars(module).values())
    found = [value for value in values if isinstance(value, type) and issubclass(value, output.OutputDocument)]
    return [model for model in found if model is not output.OutputDocument]


if __name__ == "__main__":
    sys.exit(main())
