"""Selects the input images of a job: files, a folder, a query, a similar image, or a character.

Adding a method: a key of `InputSelection`, its name in SELECTION_METHODS, and a function in indexd/jobs/admission/input_selection.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from indexd_schemas.api.characters import CharacterSelector, SampleStrategy
from indexd_schemas.api.requests import SortOrder
from indexd_schemas.jobs.job_part import JobPart
from indexd_schemas.jobs.shorthand import TEXT_SCHEMA, Shorthand

SELECTION_METHODS = ("files", "folder", "query", "similar", "character")
MAX_FILES = 10_000

InputPathText = Annotated[str, Field(min_length=1, max_length=4000)]


class InputSelection(JobPart):
    """Input images, chosen at admission. A bare text is one file, a list several files."""

    files: list[InputPathText] | None = Field(
        None,
        min_length=1,
        max_length=MAX_FILES,
        description="Images by path (absolute or relative to the inbox), by id (`#12`) or by content hash.",
        examples=[["a.png", "#12"]],
    )
    folder: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="All images of a folder, in order of name.",
        examples=["sketches"],
    )
    recursive: bool = Field(False, description="With `folder`: include its sub-folders.", examples=[True])
    query: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Images that match the filters of `indexd query`. Limits the candidates of `similar` and `character`.",
        examples=["rating:5 model:pony"],
    )
    similar: str | None = Field(
        None,
        min_length=1,
        max_length=4000,
        description="Images similar to this one (path, `#12` or content hash), the most similar first.",
        examples=["#12"],
    )
    character: CharacterSelector | None = Field(
        None, description="Images of a character, by name or number.", examples=["Luna"]
    )
    sample: SampleStrategy | None = Field(
        None,
        description="With `character`: which of its images (random, diverse, best, typical). Default: diverse.",
        examples=["diverse"],
    )
    sort: SortOrder | None = Field(
        None, description="Order of the query results. Default: newest first.", examples=["rating"]
    )
    count: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Maximum number of images. Default: all; 20 with `similar` and `character`.",
        examples=[20],
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"files": [value]}
        if isinstance(value, list):
            if not value or not all(isinstance(one, str) and one for one in value):
                raise ValueError("must be a list of at least one path")
            return {"files": value}
        if not isinstance(value, dict):
            raise ValueError(
                "must be a path, a list of paths, or {folder: …}, {query: …}, {similar: …} or {character: …}"
            )
        return value

    @model_validator(mode="after")
    def _one_method(self) -> InputSelection:
        if self.method is None:
            raise ValueError(f"must name a method: {', '.join(f'`{way}`' for way in SELECTION_METHODS)}")
        given = [way for way in SELECTION_METHODS if getattr(self, way) is not None]
        if len(given) > 1 and given not in (["query", "similar"], ["query", "character"]):
            raise ValueError(f"`{given[0]}` and `{given[1]}` cannot be combined; keep one")
        if self.recursive and self.folder is None:
            raise ValueError("`recursive` needs `folder`")
        if self.sample is not None and self.character is None:
            raise ValueError("`sample` needs `character`")
        if self.sort is not None and self.method != "query":
            raise ValueError("`sort` needs `query`")
        if self.sort == "score":
            raise ValueError("`sort: score` is only the order of `similar`; use newest, oldest or rating")
        return self

    @property
    def method(self) -> str | None:
        """The method in use; `query` only when it is the only one."""
        return next((way for way in reversed(SELECTION_METHODS) if getattr(self, way) is not None), None)


Input = Annotated[
    InputSelection,
    Shorthand(
        InputSelection, TEXT_SCHEMA, {"type": "array", "items": TEXT_SCHEMA, "minItems": 1, "maxItems": MAX_FILES}
    ),
]
