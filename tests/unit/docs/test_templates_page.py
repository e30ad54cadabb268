"""docs/templates.md: its jobs are valid, and its syntax does what the table says."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from indexd.jobs.parsing.validation import parse_job
from indexd.jobs.parsing.yaml_guard import parse_yaml
from indexd.registry import job_kinds
from indexd.templates.template import compile_text
from indexd.templates.wildcards import WildcardLibrary, values_from_text
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.template import DEFAULT_MAX_COMBINATIONS, SLOT_KEYS, JobTemplate
from tests.support.paths import DOCS

PAGE = (DOCS / "templates.md").read_text("utf-8")
SYNTAX = re.findall(
    r"`((?:[^`])+)`", "".join(re.findall(r"^\| (`.*?) \| ", PAGE.partition("## Syntax")[2], re.MULTILINE))
)
LISTS = {
    "colors/cold": ["blue", "green"],
    "colors/warm": ["red"],
    "dress": ["${fabric} dress"],
    "city/night": ["neon street"],
}


def _library() -> WildcardLibrary:
    lists = {name: values_from_text("\n".join(values), name) for name, values in LISTS.items()}
    return WildcardLibrary(lists, lists.__getitem__, {"places": ""})


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_an_example_is_a_valid_job(text: str) -> None:
    job = parse_job(parse_yaml(text.encode()), job_kinds.kinds())
    assert isinstance(job, Job)
    slots = JobTemplate() if job.template is None else job.template
    for name in slots.slots:
        assert f"{{{name}" in job.prompt
    assert compile_text(re.sub(r"__hair__|\{[A-Z]\w+(\[.*?\])?\}", "{x|y}", job.prompt)).count in (1, 4, 6, 8)


@pytest.mark.parametrize("text", [one.replace(r"\|", "|") for one in SYNTAX if "…" not in one and "Name" not in one])
def test_the_syntax_of_the_table_is_understood(text: str) -> None:
    template = compile_text(f"${{x=1}}{text}", _library())
    found = [one.texts["text"] for one in islice(template.combinations(), template.count)]
    left = "".join(found).replace("# text", "")
    assert template.count >= 1
    assert text.startswith("\\") or not any(sign in left for sign in ("__", "$$", "${", "%{", "::"))


def test_the_table_is_read() -> None:
    assert len(SYNTAX) > 20
    assert f"Default {DEFAULT_MAX_COMBINATIONS}" in PAGE
    [keys] = re.findall(r"A part may set a key of the job: (.*?)\.\n", PAGE, re.DOTALL)
    assert re.findall(r"`(\w+)`", keys) == list(SLOT_KEYS)


def test_the_wildcard_file_of_the_page_is_read() -> None:
    [text] = re.findall(r"```text\n(# colors/cold.txt\n.*?)```", PAGE, re.DOTALL)
    values = values_from_text(text, "cold.txt")
    assert [(one.source.text, float(one.weight)) for one in values] == [
        ("blue", 2.0),
        ("green", 1.0),
        ("{dark|pale} violet", 1.0),
    ]
