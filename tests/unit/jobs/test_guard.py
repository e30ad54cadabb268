"""What the guard lets through, and what it refuses with which sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexd.errors import JobRefused
from indexd.jobs.parsing import yaml_guard
from indexd.jobs.parsing.validation import parse_job
from indexd.registry import job_kinds
from tests.support.paths import SHARED_CORPUS

CORPUS = SHARED_CORPUS / "hostile"
YAML = CORPUS / "yaml" / "pyyaml"
OWN = Path(__file__).parent / "hostile"

MERGE_BOMB = "a: &a {x: y}\n" + "".join(
    f"k{n}: &k{n} {{<<: [*a, *a, *a, *a, *a, *a, *a, *a, *a]}}\n" for n in range(30)
)


def test_plain_data_and_places() -> None:
    document = yaml_guard.parse_yaml(
        b"kind: txt2img\nsteps: 30\ncfg: 6.5\nprompt: 'no'\nloras:\n  - name: a\n    weight: -1\n  - b\n"
    )
    assert document.data == {
        "kind": "txt2img",
        "steps": 30,
        "cfg": 6.5,
        "prompt": "no",
        "loras": [{"name": "a", "weight": -1}, "b"],
    }
    assert document.value_position(("loras", 0, "weight")) == (7, 13)
    assert document.key_position(("loras", 0, "weight")) == (7, 5)
    assert document.key_position(("loras", 0, "absent")) == (6, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-21", "2026-11-21"),
        ("-7", -7),
        ("+7", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("9" * 31, "9" * 31),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("'007'", "007"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert yaml_guard.parse_yaml(f"key: {text}".encode()).data == {"key": value}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n- b\n", "line 1, column 1: a job file is a list of `key: value` lines"),
        (b"just words\n", "line 1, column 1: a job file is a list of `key: value` lines"),
        (b"a: 1\n---\nb: 2\n", "a second document begins here"),
        (b"a: 1\nb: 2\na: 3\n", "line 3, column 1: 'a' is a duplicate key (first at line 1, column 1)"),
        (b"a: &x 1\n", "line 1, column 4: anchors (&) and aliases (*)"),
        (b"a: *x\n", "anchors (&) and aliases (*)"),
        (b"a: !!python/object/apply:os.system ['echo']\n", "line 1, column 4: tags (!)"),
        (b"a: !local x\n", "tags (!)"),
        (b"a: ! x\n", "tags (!)"),
        (b"<<: {a: 1}\n", "merge keys (<<)"),
        (b"%YAML 1.1\n---\na: 1\n", "directives are not used"),
        (b"a: 1\n\tb: 2\n", "the line begins with a tab; use spaces"),
        (b"a: b: c\n", "a second `:` in the line; put the text in quotes"),
        (b"a: 1\nb\n", "line 2, column 1: a key without `:`; write `key: value`"),
        (b"? [a, b]\n: 1\n", "a key must be a word"),
        (b"a: 'never closed\n", "put the text in quotes like this: a: 'never closed'"),
        (b"a: \xff\n", "line 1, column 4: byte 0xff is not UTF-8"),
        ("ä: 1\nb: ".encode() + b"\xe9\n", "line 2, column 4: byte 0xe9 is not UTF-8"),
        ("a: 1".encode("utf-16"), "the file is UTF-16"),
        (b"a: 1\nb: \x00\n", "line 2, column 4: the character U+0000"),
        (b"a: \x1b[31m\n", "the character U+001B"),
        (b'a: "\\ud800"\n', "the escape \\ud800 is no character"),
        (b'a: "\\0"\n', "the escape \\u0000 is no character"),
        (b"x" * (yaml_guard.MAX_BYTES + 1), "a job file has at most 262144"),
        (b"a: " + b"[" * 21 + b"]" * 21, "brackets are nested more than 20 deep"),
        (b"[" * 30_000, "brackets are nested more than 20 deep"),
        (b"a: " + b"[x, " * 21, "the file is nested more than 20 deep"),
        (b"- " * 10_000, "a job file is a list"),
        (b"a:\n" + b"".join(b" " * n + b"- \n" for n in range(1, 40)), "nested more than 20 deep"),
        (b"a: [" + b"1," * 12_000 + b"]", "has more than 10000 YAML nodes"),
        (b"a: x\n" + b"#\n" * 5_000, "line 5001, column 1: a job file has at most 5000 lines"),
        (b"a: 1\nb: " + b"x" * 40_000, "line 2, column 1: the line has more than 32768 characters"),
        (MERGE_BOMB.encode(), "anchors (&)"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_refusals(source: bytes, sentence: str) -> None:
    with pytest.raises(JobRefused) as caught:
        yaml_guard.parse_yaml(source)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_escapes_of_json_are_one_character() -> None:
    data = {"a": "😀 \U00010000 \U0010ffff", "😀": 1}
    assert yaml_guard.parse_yaml(json.dumps(data).encode()).data == data
    with pytest.raises(JobRefused, match="is no character"):
        yaml_guard.parse_yaml(b'{"a": "\\ude00\\ud83d"}')


def test_depth_of_twenty_passes() -> None:
    assert yaml_guard.parse_yaml(b"a: " + b"[" * 19 + b"]" * 19).data


@pytest.mark.parametrize(
    "unit",
    ["[", "{", "- ", "? ", "!", "&", "*", "|\n", '"', "'", "\\", "a\n", "#\n", "x", " ", "\n", "---\n", "@", "`"],
)
@pytest.mark.parametrize("around", ["{}", "a: {}", "a: [{}"])
def test_a_quarter_megabyte_of_anything_ends(unit: str, around: str) -> None:
    text = around.replace("{}", unit * ((yaml_guard.MAX_BYTES - 10) // len(unit)))
    try:
        yaml_guard.parse_yaml(text.encode())
    except JobRefused as refused:
        assert len(str(refused)) < 300


def _never_a_job(source: bytes) -> str:
    with pytest.raises(JobRefused) as caught:
        parse_job(yaml_guard.parse_yaml(source), job_kinds.kinds())
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(OWN.iterdir()), ids=lambda path: path.name)
def test_our_own_nasty_files_are_refused(path: Path) -> None:
    assert _never_a_job(path.read_bytes())


@pytest.mark.skipif(not YAML.is_dir(), reason="the shared corpus is not beside the repository")
def test_the_corpus_is_refused_and_never_executed() -> None:
    sentences = {path.name: _never_a_job(path.read_bytes()) for path in sorted(YAML.iterdir())}
    assert len(sentences) >= 290
    assert all(len(line) < 400 for sentence in sentences.values() for line in sentence.splitlines())


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the shared corpus is not beside the repository")
def test_naughty_strings_as_keys_and_values() -> None:
    lists = list((CORPUS / "names").rglob("*.txt"))
    assert lists
    for line in (line for path in lists for line in path.read_text("utf-8", "replace").splitlines()):
        for source in (line, f"kind: {line}", f"{line}: x", f"kind: {json.dumps(line)}", f"{json.dumps(line)}: 1"):
            _never_a_job(source.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("prompt: [red:blue:0.5] star", "line 2, column 24: YAML reads `[` at the start of a text as its own sign; put the text in quotes like this: prompt: '[red:blue:0.5] star'"),
        ("prompt: [red:blue:0.5]", "prompt: must be text (got a list); put the text in quotes like this: prompt: '[red:blue:0.5]'"),
        ("prompt: {red|blue} star", "like this: prompt: '{red|blue} star'"),
        ("prompt: {red|blue}", "must be text (got a mapping); put the text in quotes like this: prompt: '{red|blue}'"),
        ("prompt: {{red}}", "like this: prompt: '{{red}}'"),
        ("prompt: @artist, it's red", "YAML reads `@` at the start of a text as its own sign; put the text in quotes like this: prompt: '@artist, it''s red'"),
        ("prompt: `red` star", "like this: prompt: '`red` star'"),
        ("prompt: %red", "like this: prompt: '%red'"),
        ("prompt: | red", "like this: prompt: '| red'"),
        ("prompt: > red", "like this: prompt: '> red'"),
        ("prompt: - red", "like this: prompt: '- red'"),
        ("prompt: ? red", "like this: prompt: '? red'"),
        ("prompt: *red* star", "like this: prompt: '*red* star'"),
        ("prompt: \"red star\", best", "like this: prompt: '\"red star\", best'"),
        ("prompt: 'it's'", "like this: prompt: "),
        ("prompt: a: b", "a second `:` in the line; put the text in quotes like this: prompt: 'a: b'"),
        ("prompt: red # 1 star", "YAML treats text after ` #` as a comment; put the text in quotes like this: prompt: 'red # 1 star'"),
        ("loras:\n  - @red", "line 3, column 5: YAML reads `@` at the start of a text as its own sign; put the text in quotes like this: - '@red'"),
        ('prompt: "a \\(star\\)"', "`\\` in double quotes begins an escape; put the text in quotes like this: prompt: 'a \\(star\\)'"),
        ('input: "C:\\new\\table.png"', "put the text in quotes like this: input: 'C:\\new\\table.png'"),
        ("prompt:\u00a0red", "line 2, column 8: the blank here is U+00A0, not a plain one; write the line with plain blanks: prompt: red"),
        ("\u3000prompt: red", "line 2, column 1: the blank here is U+3000, not a plain one"),
    ],
)  # fmt: skip
def test_a_text_that_yaml_reads_as_its_own_is_written_out_in_quotes(line: str, sentence: str) -> None:
    with pytest.raises(JobRefused) as refused:
        parse_job(yaml_guard.parse_yaml(f"kind: txt2img\n{line}\n".encode()), job_kinds.kinds())
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('prompt: "a star" # a comment', "a star"),
        ("# a comment\nprompt: a star#1", "a star#1"),
        ("prompt: |\n  a # star", "a # star\n"),
        ("prompt: a\u00a0star", "a\u00a0star"),
        ('prompt: "C:\\\\new"', "C:\\new"),
        ("steps: 2 # few\nprompt: a star", "a star"),
    ],
)
def test_texts_that_yaml_reads_as_they_stand_are_not_refused(line: str, value: str) -> None:
    assert yaml_guard.parse_yaml(f"kind: txt2img\n{line}\n".encode()).data["prompt"] == value
