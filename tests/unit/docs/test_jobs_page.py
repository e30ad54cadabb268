"""docs/jobs.md: its examples are valid job files, and its tables list every kind and valid inputs."""

from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from indexd.jobs.parsing.validation import parse_job
from indexd.jobs.parsing.yaml_guard import parse_yaml
from indexd.registry import job_kinds
from indexd.search.query.filter_language import parse_filters
from indexd_schemas.jobs.input_selection import InputSelection
from indexd_schemas.jobs.job import JOB_KINDS
from tests.support.paths import DOCS

PAGE = (DOCS / "jobs.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_an_example_is_a_valid_job(text: str) -> None:
    assert parse_job(parse_yaml(text.encode()), job_kinds.kinds()).kind in JOB_KINDS


def test_every_kind_has_a_row_and_an_example() -> None:
    assert {f"| `{kind}` |" for kind in JOB_KINDS} <= set(re.findall(r"\| `\w+` \|", PAGE))
    assert {text.split("\n")[0].removeprefix("kind: ") for text in EXAMPLES} == set(JOB_KINDS)


def test_the_inputs_in_the_table_are_valid() -> None:
    table = PAGE.partition("| input | means |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    texts = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(texts) == 6
    for text in texts:
        chosen = InputSelection.model_validate(YAML(typ="safe").load(text))
        parse_filters([chosen.query] if chosen.query else [])


def test_the_filters_are_valid() -> None:
    [line] = re.findall(r"indexd query ((?:\"[^\"]+\" ?)+)--sort aesthetic", PAGE)
    assert [one.key for one in parse_filters(re.findall(r'"([^"]+)"', line))] == ["clip_score", "aesthetic"]
    assert parse_filters(["-path:*/rejected/*", "sharpness:100.."])
