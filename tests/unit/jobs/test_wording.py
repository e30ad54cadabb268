"""What a job says in words: LoRA tags, weights, embeddings, trigger words and the rules of the registry."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from indexd.errors import JobRefused, ModelUnavailable
from indexd.jobs.loras.registry import list_loras
from indexd.jobs.render_kind import build_render_call
from tests.support.model_files import SDXL_LORA, write_model
from tests.support.recipes import file_names
from tests.unit.jobs.conftest import JobSetup, OpenSetup

START = "kind: txt2img\nsize: 64x64\n"
REGISTRY = """\
film-grain:
  type: style
  min_weight: 0.2
  max_weight: 1.5
  weight: 0.6
  triggers: [film grain]
  themes: [noir, portrait]
"detail tweaker":
  type: detail
  excludes: [anime]
inks/old (two):
  type: style
  triggers: ["ink (old)"]
alone: {stackable: false}
"""


def embedding(path: Path, *keys: str) -> str:
    """A safetensors file with vectors of these names; its hash as recipes state it."""
    write_model(path, {key: (2, 1280 if key == "clip_g" else 768) for key in keys})
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10]


@pytest.fixture
def home(home: Path) -> Path:
    models = home.parent / "models"
    for name in ("inks/old (two)", "alone", *(f"more/{number}" for number in range(6))):
        write_model(models / "loras" / f"{name}.safetensors", SDXL_LORA)
    settings = home / "indexd.toml"
    settings.write_text(f'{settings.read_text()}embedding_folders = ["{(models / "embeddings").as_posix()}"]\n')
    (home / "loras.yaml").write_text(REGISTRY)
    return home


def notes_of(setup: JobSetup, text: str) -> list[str]:
    """The notes of the admitted item, sorted."""
    job = setup.jobs.submit((START + text).encode(), "x.yaml")
    return sorted(setup.store.jobs.items(job.id)[0].settings.get("notes", []))


def recipe(setup: JobSetup, text: str) -> dict[str, Any]:
    job = setup.jobs.submit((START + text).encode(), "x.yaml")
    found: dict[str, Any] = setup.store.jobs.items(job.id)[0].settings["recipe"]
    return found


def refusal(setup: JobSetup, text: str) -> str:
    with pytest.raises(JobRefused) as caught:
        setup.jobs.submit((START + text).encode(), "x.yaml")
    return str(caught.value)


def test_tags_become_uses(setup: JobSetup) -> None:
    made = recipe(setup, 'prompt: "film grain, fox <lora:film-grain:0.5> <lora:0:0.2:0.4>"')
    assert made["prompt"] == "film grain, fox"
    assert [(lora["name"], lora["weight"], lora["text_weight"]) for lora in made["loras"]] == [
        ("film-grain", 0.5, None),
        ("more/0", 0.4, 0.2),
    ]
    assert made["prompt_syntax"] == "a1111"


def test_blocks_in_every_spelling(setup: JobSetup) -> None:
    made = recipe(setup, 'prompt: "<lora:0:1:lbw=in=0.5,out4-8=0>"\nloras: [{name: "1", blocks: {mid: 0}}]')
    assert [lora["blocks"] for lora in made["loras"]] == [{"mid": 0.0}, {"in": 0.5, "out4-8": 0.0}]
    numbers = ", ".join(map(str, range(10))) + ", 1, 2"
    [lora] = recipe(setup, f'prompt: a\nloras: [{{name: "1", blocks: [{numbers}]}}]')["loras"]
    assert lora["blocks"]["in8"] == 4


def test_the_registry_gives_weight_and_trigger_words_once(setup: JobSetup) -> None:
    made = recipe(setup, "prompt: a fox\nloras: [film-grain]")
    assert (made["prompt"], made["loras"][0]["weight"]) == ("film grain, a fox", 0.6)
    made = recipe(setup, "prompt: a fox, Film Grain\nloras: [{name: film-grain, weight: 1.0}]")
    assert (made["prompt"], made["loras"][0]["weight"]) == ("a fox, Film Grain", 1.0)
    assert recipe(setup, "prompt: a fox\nloras: [film-grain]\nlora_triggers: false")["prompt"] == "a fox"
    assert recipe(setup, 'prompt: "a fox <lora:old (two):1>"')["prompt"] == r"ink \(old\), a fox"
    plain = recipe(setup, "prompt: a fox\nprompt_syntax: plain\nloras: [inks/old (two)]")
    assert plain["prompt"] == "ink (old), a fox"
    assert recipe(setup, 'prompt: "a fox <lora:old (two):0>"')["prompt"] == "a fox"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prompt: a <lora:film_grain:1>", "line 3, column 9: prompt: there is no LoRA 'film_grain'"),
        ("prompt: a <lora:film_grain:1>", "did you mean 'film-grain'"),
        ("prompt: a <lora:0:1>\nloras: ['0']", "prompt: 'more/0' is also named under `loras`; keep one"),
        ("prompt: <lora:0:1> <lora:more/0:1>", "prompt: 'more/0' is named twice; keep one"),
        ("prompt: a <lora:0:11>", "prompt: <lora:0:11>: weight must be at most 10 (got 11.0)"),
        ("prompt: a <lora:0:x>", "prompt: <lora:0:x>: 'x' is no number"),
        ("prompt: a <hypernet:0:1>", "names a hypernetwork"),
        ("prompt: a <lora:0:1:lbw=1,2>", "prompt: <lora:0:…>: a list of block weights has 12 or 20 numbers (got 2)"),
        ("prompt: a\nnegative_prompt: <lora:0:1>", "line 4, column 18: negative_prompt: contains '<lora:0:1>'"),
        ("prompt: a <lora:0:1>\nprompt_syntax: plain", "a plain prompt names no LoRAs"),
        ("prompt: (a:101)", "prompt: brackets give a weight of 101; at most 100 are possible"),
        ("prompt: a\nnegative_prompt: '" + "(" * 9000 + "a'", "negative_prompt: brackets give a weight of inf"),
        ("prompt: a AND b :-200", "prompt: brackets give a weight of 200"),
        ("prompt: " + " AND ".join("a" * 20), "prompt: AND joins 20 texts; at most 16 are possible"),
        (
            "prompt: a\nprompt_syntax: comfy",
            "prompt_syntax: must be 'a1111', 'comfyui', 'plain' or 'dynamic' (got 'comfy')",
        ),
        ("prompt: a\nloras: [{name: '0', blocks: {in9: 1}}]", "loras[0].blocks: there is no block 'in9'"),
        ("prompt: a\nloras: [{name: '0', blocks: 3}]", "loras[0].blocks: must be `block: number` pairs"),
        ("prompt: a\nloras: [{name: '0', blocks: [1, 2]}]", "a list of block weights has 12 or 20 numbers (got 2)"),
        ("prompt: a\nloras: [{name: '0', blocks: {in: x}}]", "loras[0].blocks: must be `block: number` pairs"),
        ("prompt: a\nloras: ['0', '1', '2', '3', '4', '5']", "loras: 6 LoRAs; at most 5 work together"),
        (
            "prompt: a\nloras: [{name: '0', weight: 2}, {name: '1', weight: -2}]",
            "loras: the weights of the LoRAs add up to 4; at most 3.5 are allowed ([generate.loras] max_weight_sum)",
        ),
        (
            "prompt: a\nloras: [{name: film-grain, weight: 2}]",
            "loras: film-grain is registered for weights from 0.2 to 1.5 (got 2)",
        ),
        ("prompt: a <lora:alone:1> <lora:0:1>", "prompt: alone goes with no other LoRA"),
        ("prompt: a\nloras: [detail tweaker]\nthemes: [Anime]", "detail tweaker does not fit the theme anime"),
        ("prompt: a\nloras: [film-grain]\nthemes: [beach]", "film-grain fits the themes noir, portrait alone"),
    ],
)
def test_one_sentence_a_mistake(setup: JobSetup, text: str, sentence: str) -> None:
    assert sentence in refusal(setup, text)


def test_limits_by_type_are_settable(home: Path, open_setup: OpenSetup) -> None:
    setup = open_setup()
    both = "prompt: a\nloras: [film-grain, inks/old (two)]"
    assert len(recipe(setup, both)["loras"]) == 2
    assert recipe(setup, "prompt: a\nloras: [film-grain]\nthemes: [Noir, beach]")["loras"]


def test_a_lower_limit_is_held(home: Path, open_setup: OpenSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    from indexd.config import read_config
    from indexd.jobs.service import JobService

    setup = open_setup()
    monkeypatch.setenv("INDEXD_GENERATE__LORAS__MAX_STYLE", "1")
    jobs = JobService(setup.store, read_config(home))
    with pytest.raises(JobRefused, match=r"2 LoRAs of type style \(film-grain, inks/old \(two\)\); at most 1"):
        jobs.submit((START + "prompt: a\nloras: [film-grain, inks/old (two)]").encode(), "x.yaml")


@pytest.mark.parametrize(
    ("registry", "sentence"),
    [
        ("film-grain:\n  typ: style\n", "line 2, column 3: film-grain: there is no key 'typ'; did you mean `type`"),
        ("film-grain:\n  type: pose\n", "line 2, column 9: film-grain: type must be 'character', 'style'"),
        ("film-grain:\n  weight: high\n", "line 2, column 11: film-grain: weight must be a number (got 'high')"),
        ("film-grain: style\n", "line 1, column 13: film-grain:"),
        ("film-grain: {min_weight: 2, max_weight: 1}", "min_weight 2 is more than max_weight 1"),
        ("film-grain: {max_weight: 1, weight: 2}", "weight 2 is outside min_weight -10 to max_weight 1"),
        ("a: {}\nA: {}\n", "line 2, column 1: 'A' and 'a' are the same LoRA; keep one"),
        ("a: &x {}\n", "line 1, column 4: anchors (&) and aliases (*) are not used in registry files"),
        ("- a\n", "line 1, column 1: a registry file is a list of `key: value` lines"),
        ("\tx: 1\n", "line 1"),
    ],
)
def test_a_bad_registry_is_one_sentence_with_its_line(
    setup: JobSetup, home: Path, registry: str, sentence: str
) -> None:
    (home / "loras.yaml").write_text(registry)
    said = refusal(setup, "prompt: a\nloras: [film-grain]")
    assert sentence in said
    assert str(home / "loras.yaml") in said
    assert recipe(setup, "prompt: a")["prompt"] == "a"


def test_the_registry_is_read_again_when_it_changes(setup: JobSetup, home: Path) -> None:
    assert recipe(setup, "prompt: a\nloras: [film-grain]")["loras"][0]["weight"] == 0.6
    (home / "loras.yaml").write_text("# nothing registered yet\n")
    assert recipe(setup, "prompt: a\nloras: [film-grain]")["loras"][0]["weight"] == 1.0
    (home / "loras.yaml").unlink()
    assert recipe(setup, "prompt: a\nloras: [film-grain]")["prompt"] == "a"


def test_embeddings_are_found_and_recorded(setup: JobSetup, home: Path) -> None:
    folder = home.parent / "models" / "embeddings"
    bad = embedding(folder / "sdxl" / "bad hands.safetensors", "clip_l", "clip_g")
    other = embedding(folder / "Glow.safetensors", "clip_g", "clip_l", "x")
    embedding(folder / "old.safetensors", "emb_params")
    (folder / "noise.safetensors").write_bytes(b"\xff" * 40)
    made = recipe(setup, 'prompt: "an old (glow:1.2), noise"\nnegative_prompt: "bad hands, glow, glowing"')
    assert made["embeddings"] == [{"name": "Glow", "hash": other}, {"name": "sdxl/bad hands", "hash": bad}]
    assert notes_of(setup, "prompt: an old fox, noise") == [
        "'noise' stays a word: the embedding noise is no model file: it begins like no known format; download it again",
        "'old' stays a word: the embedding old was made for Stable Diffusion 1, and indexd renders with SDXL; use a file made for SDXL",
    ]
    order = build_render_call(setup.store.jobs.items(1)[0], setup.jobs.catalogue)
    assert file_names(order.call, "embedding") == {
        "Glow": "Glow.safetensors",
        "sdxl/bad hands": "bad hands.safetensors",
    }
    os.remove(folder / "Glow.safetensors")
    with pytest.raises(ModelUnavailable, match="there is no embedding 'Glow'"):
        build_render_call(setup.store.jobs.items(1)[0], setup.jobs.catalogue)


def test_an_embedding_that_can_carry_code_is_refused(
    setup: JobSetup, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home.parent / "models" / "embeddings"
    folder.mkdir()
    (folder / "glow.pt").write_bytes(b"\x80\x04")
    assert "'glow' names the embedding" in refusal(setup, "prompt: a glow")
    assert "pickle_checkpoints under [generate]" in refusal(setup, "prompt: a\nnegative_prompt: Glow")
    setup.jobs.catalogue.allows_pickles = True
    assert [use["name"] for use in recipe(setup, "prompt: a glow")["embeddings"]] == ["glow"]


def test_the_list_holds_files_and_entries(setup: JobSetup, home: Path) -> None:
    (home / "loras.yaml").write_text(REGISTRY + "gone: {type: character}\n")
    found = {lora.name: lora for lora in list_loras(setup.config).loras}
    assert found["film-grain"].registered is not None
    assert found["film-grain"].registered.triggers == ["film grain"]
    assert found["inks/old (two)"].registered is not None
    assert (found["more/0"].registered, found["gone"].path) == (None, None)
    assert found["film-grain"].path is not None
