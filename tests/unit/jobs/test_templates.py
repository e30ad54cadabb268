"""Templates in jobs: one image for each combination, its choices recorded, and accidents refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from indexd.errors import JobRefused
from indexd.jobs.admission.wildcard_files import MAX_FILES, WildcardFolder
from indexd.jobs.preview import preview_job
from indexd_schemas.jobs.template import DEFAULT_MAX_COMBINATIONS
from indexd_schemas.recipe import Recipe
from tests.unit.jobs.conftest import JobSetup

HEAD = "kind: txt2img\nsize: 64x64\n"


@pytest.fixture
def wildcards(home: Path) -> Path:
    folder = home / "wildcards"
    (folder / "colors").mkdir(parents=True)
    (folder / "hair.txt").write_text("# short first\nbob\n\npixie\n", "utf-8")
    (folder / "colors" / "cold.txt").write_text("\ufeff2::blue\ngreen\n", "utf-8")
    (folder / "places.yaml").write_text("city:\n  night: [neon street, rooftop]\n", "utf-8")
    (folder / "animals.yml").write_text("- fox\n- owl\n", "utf-8")
    (folder / "moods.json").write_text('{"mood": ["sad", {"text": "happy", "weight": 3}]}', "utf-8")
    return folder


def _recipes(setup: JobSetup, text: str) -> list[dict[str, Any]]:
    job = setup.jobs.submit((HEAD + text).encode(), "x.yaml")
    return [item.settings["recipe"] for item in setup.store.jobs.items(job.id)]


def _prompts(setup: JobSetup, text: str) -> list[str]:
    return [recipe["prompt"] for recipe in _recipes(setup, text)]


def _refusal(setup: JobSetup, text: str) -> str:
    with pytest.raises(JobRefused) as caught:
        setup.jobs.submit((HEAD + text).encode(), "x.yaml")
    return str(caught.value)


def test_template_syntax_is_plain_text_where_the_job_does_not_switch_it_on(setup: JobSetup) -> None:
    (recipe,) = _recipes(setup, "prompt: a {red|green} ball, __hair__, 100% $x")
    assert recipe["prompt"] == "a {red|green} ball, __hair__, 100% $x"
    assert (recipe["template"], recipe["choices"]) == (None, {})


def test_a_job_makes_every_combination_and_records_its_choices(setup: JobSetup, wildcards: Path) -> None:
    recipes = _recipes(
        setup,
        "prompt_syntax: dynamic\nprompt: '${mood=!{sad|happy}}${mood} girl, __hair__'\n"
        "negative_prompt: not ${mood}\nseed: 100",
    )
    assert [(one["prompt"], one["negative_prompt"], one["seed"]) for one in recipes] == [
        ("sad girl, bob", "not sad", 100),
        ("sad girl, pixie", "not sad", 101),
        ("happy girl, bob", "not happy", 102),
        ("happy girl, pixie", "not happy", 103),
    ]
    assert recipes[1]["choices"] == {"mood": "sad", "hair": "pixie"}
    assert recipes[1]["template"] == "${mood=!{sad|happy}}${mood} girl, __hair__"
    assert recipes[1]["prompt_syntax"] == "a1111"
    assert all(Recipe.model_validate(one) for one in recipes)


def test_a_job_keeps_the_files_that_its_texts_came_from(setup: JobSetup, wildcards: Path) -> None:
    job = setup.jobs.submit(f"{HEAD}template: {{}}\nprompt: '__hair__ {{places:city.night}}'".encode(), "x.yaml")
    first, second, *_ = setup.store.jobs.items(job.id)
    assert first.settings["template_files"] == {
        name: blake3((wildcards / name).read_bytes()).hexdigest() for name in ("hair.txt", "places.yaml")
    }
    assert "template_files" not in second.settings


def test_lists_come_from_text_yaml_and_json_files(setup: JobSetup, wildcards: Path) -> None:
    assert _prompts(setup, "template: {}\nprompt: __colors/cold__") == ["blue", "green"]
    assert _prompts(setup, "template: {}\nprompt: __city/night__") == ["neon street", "rooftop"]
    assert _prompts(setup, "template: {}\nprompt: __animals__") == ["fox", "owl"]
    assert _prompts(setup, "template: {}\nprompt: __MOOD__") == ["sad", "happy"]
    (wildcards / "animals.yml").write_text("- hen\n- a longer list\n", "utf-8")
    assert _prompts(setup, "template: {}\nprompt: __animals__") == ["hen", "a longer list"]


def test_count_takes_some_combinations_at_random_without_repeats(setup: JobSetup) -> None:
    text = "template: {seed: 3}\nprompt: '{1-100} {a|b}'\ncount: 20"
    prompts = _prompts(setup, text)
    assert len(set(prompts)) == 20
    assert prompts == _prompts(setup, text)
    assert prompts != [f"{number} {letter}" for number in range(1, 11) for letter in "ab"]
    assert _prompts(setup, "template: {order: product}\nprompt: '{1-100} {a|b}'\ncount: 3") == ["1 a", "1 b", "2 a"]


def test_more_images_than_combinations_begin_again_with_other_seeds(setup: JobSetup) -> None:
    recipes = _recipes(setup, "template: {}\nprompt: '{a|b}'\ncount: 5\nseed: 7")
    assert [(one["prompt"], one["seed"]) for one in recipes] == [("a", 7), ("b", 8), ("a", 9), ("b", 10), ("a", 11)]


def test_listed_seeds_are_made_of_every_combination(setup: JobSetup) -> None:
    recipes = _recipes(setup, "template: {}\nprompt: '{a|b}'\nseeds: [5, 6]")
    assert [(one["prompt"], one["seed"]) for one in recipes] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]


def test_cyclic_order_advances_all_slots_together(setup: JobSetup) -> None:
    assert _prompts(setup, "template: {order: cyclic}\nprompt: '{a|b} {x|y|z}'") == ["a x", "b y", "a z"]


def test_an_accident_is_refused_with_the_number(setup: JobSetup) -> None:
    many = "prompt: '{1-300} {1-300} {1-80}'"
    assert _refusal(setup, f"template: {{}}\n{many}") == (
        f"line 3, column 11: template: there are 7200000 combinations; a job without `count` makes at most "
        f"{DEFAULT_MAX_COMBINATIONS}: write `count` to take some of them, or `template: {{max: 7200000}}`"
    )
    huge = f"template: {{}}\nprompt: '{'{a|b}' * 100}'"
    assert _refusal(setup, huge).endswith(
        f"there are at least 10^30 combinations; a job without `count` makes at most {DEFAULT_MAX_COMBINATIONS}: "
        "write `count` to take some of them"
    )
    assert len(_prompts(setup, f"template: {{}}\n{many}\ncount: 50")) == 50
    assert "count: 51 images; a job makes at most 50" in _refusal(setup, f"template: {{}}\n{many}\ncount: 51")
    assert "a job makes at most 50" in _refusal(setup, "template: {}\nprompt: '{1-60}'")
    assert "60 images" in _refusal(setup, "template: {}\nprompt: '{1-30}'\nseeds: [1, 2]")


def test_prompts_of_stages_are_expanded_with_the_same_variables(setup: JobSetup) -> None:
    (recipe, other) = _recipes(
        setup,
        "template: {}\nprompt: '${hair=!{bob|braid}}a girl, ${hair}'\nhires: {scale: 2, prompt: 'detailed ${hair}'}",
    )
    assert recipe["stages"][0]["prompt"] == "detailed bob"
    assert other["stages"][0]["prompt"] == "detailed braid"


def test_loras_and_weights_of_a_combination_are_read_after_expansion(setup: JobSetup) -> None:
    with_lora, without = _recipes(setup, "template: {}\nprompt: 'a fox {<lora:film-grain:0.5>|}, (red:1.2)'")
    assert [lora["name"] for lora in with_lora["loras"]] == ["film-grain"]
    assert (without["loras"], without["prompt"]) == ([], "a fox, (red:1.2)")


def test_a_plain_prompt_may_be_expanded(setup: JobSetup) -> None:
    recipes = _recipes(setup, "template: {}\nprompt_syntax: plain\nprompt: '(a {fox|owl}:1.2)'")
    assert [(one["prompt"], one["prompt_syntax"]) for one in recipes] == [
        ("(a fox:1.2)", "plain"),
        ("(a owl:1.2)", "plain"),
    ]


def test_choices_name_files(setup: JobSetup, wildcards: Path) -> None:
    job = setup.jobs.submit(
        f"{HEAD}template: {{}}\nprompt: '__hair__ {{red/blue|green}}'\noutput: {{name: '{{hair}} {{1}}'}}".encode(),
        "x.yaml",
    )
    names = [Path(item.path.decode()).name for item in setup.store.jobs.items(job.id)]
    assert names == ["bob red_blue-0001.png", "bob green-0002.png", "pixie red_blue-0003.png", "pixie green-0004.png"]
    assert "output.name: there is no {hare}; did you mean {hair}" in _refusal(
        setup, "template: {}\nprompt: __hair__\noutput: {name: '{hare}'}"
    )
    assert "there is no {hair}" in _refusal(setup, "prompt: a\noutput: {name: '{hair}'}")


def test_result_files_and_images_state_the_choices(setup: JobSetup, wildcards: Path) -> None:
    setup.drop(f"{HEAD}template: {{}}\nprompt: a __hair__")
    setup.jobs.admit_file(setup.inbox / "x.yaml")
    setup.work()
    result = json.loads((setup.inbox / "done" / "x.result.json").read_text("utf-8"))
    assert [recipe["choices"] for recipe in result["recipes"]] == [{"hair": "bob"}, {"hair": "pixie"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "template: {}\nprompt: a __hare__",
            "line 4, column 9: prompt, line 1, column 3: there is no wildcard 'hare'; did you mean 'hair'",
        ),
        (
            "template: {}\nprompt: a\nnegative_prompt: b {c|",
            "line 5, column 18: negative_prompt, line 1, column 3: this { has no closing }",
        ),
        (
            "template: {}\nprompt: a\nhires: {prompt: '${x}'}",
            "hires.prompt, line 1, column 1: the variable 'x' has no value",
        ),
        ("template: {oder: random}\nprompt: a", "template: there is no key 'oder' in template; did you mean `order`"),
        ("template: {order: shuffled}\nprompt: a", "template.order"),
        ("template: {max: 0}\nprompt: a", "template.max"),
        ("template: {}\nprompt: '{1-20000}'", "the range has 20000 values"),
        ("template: {}\nprompt: __../../secret__", "`..` is not used in names of wildcards"),
        ("template: {}\nprompt: __loop__", "the wildcard 'loop' uses itself: loop -> loop"),
        ("template: {}\nprompt: __broken__", "broken.yaml, line 1, column 8"),
        ("template: {}\nprompt: __latin__", "latin.txt, line 2: the file is not UTF-8; save it as UTF-8"),
        ("template: {}\nprompt: '{<lora:nobody:1>|a}'", "LoRA"),
    ],
)
def test_mistakes_are_refused_with_place_and_cure(setup: JobSetup, wildcards: Path, text: str, sentence: str) -> None:
    (wildcards / "loop.txt").write_text("__loop__\n", "utf-8")
    (wildcards / "broken.yaml").write_text("names: &x [a]\n", "utf-8")
    (wildcards / "latin.txt").write_bytes(b"a\ncaf\xe9\n")
    assert sentence.removeprefix("template: ") in _refusal(setup, text)
    assert list(setup.store.jobs.unfinished()) == []


def test_a_broken_file_refuses_only_the_jobs_that_need_it(setup: JobSetup, wildcards: Path) -> None:
    (wildcards / "broken.json").write_text("{", "utf-8")
    assert _prompts(setup, "template: {}\nprompt: __hair__") == ["bob", "pixie"]


def test_the_folder_of_wildcards_may_be_missing(setup: JobSetup) -> None:
    assert _prompts(setup, "template: {}\nprompt: '{a|b}'") == ["a", "b"]
    assert "the folder of wildcards is empty" in _refusal(setup, "template: {}\nprompt: __hair__")


def test_only_regular_files_of_bounded_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "secret.txt").write_text("secret\n", "utf-8")
    (tmp_path / "wildcards" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "wildcards" / ".hidden.txt").write_text("hidden\n", "utf-8")
    (tmp_path / "wildcards" / "deep.json").write_text("[" * 100_000 + "]" * 100_000, "utf-8")
    (tmp_path / "wildcards" / "large.yaml").write_bytes(b"a: [b]\n" + b"#" * (2 << 20))
    snapshot = WildcardFolder(tmp_path / "wildcards").read()
    assert snapshot.library.names == []
    assert [re.split("[:,]", problem)[0] for problem in snapshot.problems] == ["deep.json", "large.yaml"]
    assert MAX_FILES == 20_000


def _files(setup: JobSetup) -> list[Path]:
    """Every file of the home but the index and the cache of model descriptions."""
    paths = setup.config.paths
    found = (path for path in paths.home.rglob("*") if paths.cache not in (path, *path.parents))
    return sorted(path for path in found if not path.name.startswith(paths.index.name))


def test_a_preview_says_what_a_job_would_make_and_writes_nothing(setup: JobSetup, wildcards: Path) -> None:
    text = (HEAD + "template: {order: product}\nprompt: 'a {fox|owl}, __hair__'\ncount: 6\nseed: 5").encode()
    before = _files(setup)
    shown = preview_job(setup.config, setup.store, text, "x.yaml", sample=3)
    assert (shown.name, shown.kind, shown.images, shown.seconds) == ("x", "txt2img", 6, None)
    assert shown.choices == {"1": {"fox": 4, "owl": 2}, "hair": {"bob": 3, "pixie": 3}}
    assert list(shown.template_files) == ["hair.txt"]
    assert [(one.index, one.seed, one.prompt) for one in shown.sample] == [
        (0, 5, "a fox, bob"),
        (2, 7, "a owl, bob"),
        (4, 9, "a fox, bob"),
    ]
    assert _files(setup) == before
    assert list(setup.store.jobs.unfinished()) == []
    job = setup.jobs.submit(text, "x.yaml")
    assert [item.path.decode() for item in setup.store.jobs.items(job.id)][::2] == [one.path for one in shown.sample]
    with pytest.raises(JobRefused, match="there is no wildcard 'x'"):
        preview_job(setup.config, setup.store, (HEAD + "template: {}\nprompt: __x__").encode(), "x.yaml", sample=3)


def test_a_preview_estimates_the_time_from_finished_images(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.jobs.submit((HEAD + "prompt: a\nsteps: 10").encode(), "first.yaml")
    setup.work()
    [item] = [item for job in setup.store.jobs.list() for item in setup.store.jobs.items(job.id)]
    assert item.seconds is not None
    timed = replace(item, seconds=2.0)
    monkeypatch.setattr(setup.store.jobs, "items", lambda _job_id: [timed])
    twice = preview_job(setup.config, setup.store, (HEAD + "prompt: a\nsteps: 20\ncount: 3").encode(), "x.yaml", 0)
    assert (twice.seconds, twice.sample) == (12.0, [])
    larger = preview_job(setup.config, setup.store, b"kind: txt2img\nsize: 128x64\nprompt: a\nsteps: 10", "x.yaml", 1)
    assert larger.seconds == 4.0
    other = preview_job(setup.config, setup.store, (HEAD + "prompt: a\nhires: {scale: 2}").encode(), "x.yaml", 1)
    assert other.seconds is None


def test_a_series_makes_the_template_with_each_of_its_values(setup: JobSetup, wildcards: Path) -> None:
    text = (HEAD + "template: {}\nprompt: 'a __hair__'\nseed: 3\ngrid: {cfg: [4, 7]}").encode()
    job = setup.jobs.submit(text, "x.yaml")
    recipes = [item.settings["recipe"] for item in setup.store.jobs.items(job.id) if "recipe" in item.settings]
    assert [(one["cfg"], one["prompt"], one["seed"]) for one in recipes] == [
        (4, "a bob", 3),
        (4, "a pixie", 4),
        (7, "a bob", 3),
        (7, "a pixie", 4),
    ]
    assert preview_job(setup.config, setup.store, text, "x.yaml", sample=9).images == 4


SLOTS = """template:
  slots:
    Hair: hair
    Outfit: [red dress, "blue {coat|hat}"]
    Mood:
      sad: crying
      happy: {prompt: smiling, negative: tears, loras: [film-grain], steps: 40, size: 128x64}
"""


def test_slots_have_parts_that_are_chosen_together(setup: JobSetup, wildcards: Path) -> None:
    recipes = _recipes(setup, SLOTS + "prompt: 'a girl, {Hair}, {Outfit}, {Mood}'\nnegative_prompt: ugly\nsteps: 20")
    assert len(recipes) == 2 * 3 * 2
    happy = next(one for one in recipes if one["choices"] == {"Hair": "pixie", "Outfit": "red dress", "Mood": "happy"})
    assert (happy["prompt"], happy["negative_prompt"]) == ("a girl, pixie, red dress, smiling", "ugly, tears")
    assert (happy["steps"], happy["width"], [lora["name"] for lora in happy["loras"]]) == (40, 128, ["film-grain"])
    sad = next(one for one in recipes if one["choices"]["Mood"] == "sad" and "coat" in one["prompt"])
    assert (sad["prompt"], sad["negative_prompt"]) == ("a girl, bob, blue coat, crying", "ugly")
    assert (sad["steps"], sad["width"], sad["loras"]) == (20, 64, [])
    assert sad["choices"]["Outfit"] == "blue {coat|hat}"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("{Hair} {Mood}", ["bob crying", "bob smiling", "pixie crying", "pixie smiling"]),
        ("{Hair[$2]} {Mood[$1]}", ["bob crying", "pixie crying", "bob smiling", "pixie smiling"]),
        ("{Hair[pixie]} {Mood}", ["pixie crying", "pixie smiling"]),
        ("{Hair[#1]} {Mood[happy,sad]}", ["pixie smiling", "pixie crying"]),
        ("{Hair[#0-9;$5]} {Mood[#0]}", ["bob crying", "pixie crying"]),
        ("{Hair[#0]} {Hair} {Mood[sad]} not {Mood:negative}{Mood:prompt}", ["bob bob crying not crying"]),
    ],
)
def test_selectors_narrow_slots_and_order_loops(
    setup: JobSetup, wildcards: Path, prompt: str, expected: list[str]
) -> None:
    slots = "template: {slots: {Hair: hair, Mood: {sad: crying, happy: {prompt: smiling, negative: tears}}}}\n"
    assert _prompts(setup, f"{slots}prompt: '{prompt}'") == expected


def test_a_selector_takes_some_options_at_random_or_one_for_each_image(setup: JobSetup) -> None:
    slots = "template: {seed: 4, slots: {A: [a, b, c, d, e], B: [x, y]}}\n"
    some = _recipes(setup, f"{slots}prompt: '{{A[2]}} {{B}}'")
    assert len(some) == 4
    assert len({one["choices"]["A"] for one in some}) == 2
    drawn = _recipes(setup, f"{slots}prompt: '{{A[$0]}} {{B}}'\ncount: 40")
    assert [one["choices"]["B"] for one in drawn] == ["x", "y"] * 20
    assert len({one["choices"]["A"] for one in drawn}) > 2


def test_slots_are_read_from_files_of_template_system_v2(setup: JobSetup, wildcards: Path) -> None:
    (wildcards / "outfits.yaml").write_text(
        "version: '2.0'\nname: outfits\nvariations:\n  gown: {main: a gown, lora: '<lora:film-grain:0.4>'}\n  suit: a suit\n",
        "utf-8",
    )
    job = setup.jobs.submit(
        f"{HEAD}template: {{slots: {{Outfit: outfits.yaml}}}}\nprompt: '{{Outfit}} {{Outfit:lora}}'".encode(), "x.yaml"
    )
    gown, suit = setup.store.jobs.items(job.id)
    assert (gown.settings["recipe"]["prompt"], gown.settings["recipe"]["choices"]) == ("a gown", {"Outfit": "gown"})
    assert gown.settings["recipe"]["loras"][0]["weight"] == 0.4
    assert (suit.settings["recipe"]["prompt"], suit.settings["recipe"]["loras"]) == ("a suit", [])
    assert list(gown.settings["template_files"]) == ["outfits.yaml"]


@pytest.mark.parametrize(
    ("slots", "prompt", "sentence"),
    [
        ("{Hair: hare}", "{Hair}", "template.slots.Hair: there is no wildcard 'hare'; did you mean 'hair'"),
        ("{Hair: hair}", "a", "template.slots.Hair: no prompt uses the slot; write {Hair} into one"),
        ("{Hair: hair}", "{Hair} {Hiar}", "prompt, line 1, column 8: there is no slot 'Hiar'; did you mean 'Hair'"),
        ("{Hair: hair}", "{Hair[bop]}", "the slot 'Hair' has no option 'bop'; did you mean 'bob'"),
        ("{Hair: hair}", "{Hair:lora}", "no option of the slot 'Hair' has the part 'lora'"),
        ("{Hair: hair}", "{Hair[#7]}", "the selector [#7] leaves no option of the slot 'Hair'"),
        ("{Hair: hair}", "{Hair[#0]} {Hair[#1]}", "has two selectors, [#0] and [#1]; keep one"),
        ("{Hair: []}", "{Hair}", "template.slots.Hair: the slot has no options"),
        ("{Hair: 3}", "{Hair}", "Hair must be the name of a list or file"),
        ("{'a b': [x]}", "{a b}", "'a b' is no name of a slot"),
        ("{Hair: nowhere.yaml}", "{Hair}", "there is no file 'nowhere.yaml' in the folder of wildcards"),
        ("{Hair: ../x.yaml}", "{Hair}", "there is no file '../x.yaml'"),
        ("{Hair: {a: {steps: many}}}", "{Hair}", "template.slots.Hair.a.steps: must be"),
        ("{Hair: {a: {denoise: [1]}}}", "{Hair}", "the part 'denoise' must be a text"),
        ("{Hair: hair}", "__{Hair}__", "the value of a slot must not decide between lists"),
        ("{Hair: ['{b|']}", "{Hair}", "this { has no closing }"),
        ("{Hair: ['{Mood}'], Mood: [x]}", "{Hair} {Mood}", "the value of a slot must not use the slot 'Mood'"),
    ],
)
def test_mistakes_in_slots_are_refused(
    setup: JobSetup, wildcards: Path, slots: str, prompt: str, sentence: str
) -> None:
    assert sentence in _refusal(setup, f"template: {{slots: {slots}}}\nprompt: '{prompt}'")


def test_an_image_that_is_made_again_keeps_its_choices(setup: JobSetup, wildcards: Path) -> None:
    (first, _) = _recipes(setup, "template: {}\nprompt: a __hair__\nseed: 4")
    setup.work()
    again = f"kind: regenerate\ninput: '{setup.output / 'x-0001.png'}'\n"
    for changes, choices in (("", {"hair": "bob"}), ("steps: 3\n", {"hair": "bob"}), ("prompt: a cat\n", {})):
        job = setup.jobs.submit(f"{again}{changes}output: {{name: 'again {{seed}}'}}".encode(), "again.yaml")
        recipe = setup.store.jobs.items(job.id)[0].settings["recipe"]
        assert recipe["choices"] == choices
        assert changes or recipe == first


@pytest.fixture
def templates(home: Path) -> Path:
    folder = home / "templates"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "quality.yaml").write_text(
        "description: for all portraits\nprompt: 'masterpiece, {prompt}, best quality'\n"
        "negative_prompt: 'blurry, {negprompt}'\nsteps: 50\ncfg: 6\n",
        "utf-8",
    )
    (folder / "portraits.yaml").write_text(
        "version: '2.0'\nextends: base/quality\nkind: txt2img\nprompt: 'portrait of {prompt}, {Hair}'\nsteps: 40\n"
        "slots:\n  Hair: [bob, braid]\n  Mood: [sad]\ntemplate: {order: product, max: 9}\n",
        "utf-8",
    )
    return folder


def test_a_template_file_gives_the_keys_that_the_job_lacks(setup: JobSetup, templates: Path) -> None:
    text = "template: portraits\nprompt: 'a girl, {Mood}'\nsize: 64x64\ncfg: 5\nseed: 1\n"
    job = setup.jobs.submit(text.encode(), "x.yaml")
    first, second = setup.store.jobs.items(job.id)
    recipe = first.settings["recipe"]
    assert recipe["prompt"] == "masterpiece, portrait of a girl, sad, bob, best quality"
    assert (recipe["negative_prompt"], recipe["steps"], recipe["cfg"]) == ("blurry", 40, 5)
    assert (recipe["template"], recipe["choices"]) == ("portraits", {"Mood": "sad", "Hair": "bob"})
    assert second.settings["recipe"]["choices"]["Hair"] == "braid"
    assert first.settings["template_files"] == {
        f"templates/{name}": blake3((templates / name).read_bytes()).hexdigest()
        for name in ("portraits.yaml", "base/quality.yaml")
    }


def test_a_job_changes_slots_and_options_of_its_template(setup: JobSetup, templates: Path) -> None:
    text = HEAD + "template: {name: portraits, slots: {Hair: [curls]}, order: random}\nprompt: a {Mood} boy"
    assert [recipe["prompt"] for recipe in _recipes(setup, text.removeprefix(HEAD))] == [
        "masterpiece, portrait of a sad boy, curls, best quality"
    ]


def test_a_template_without_a_place_for_the_prompt_is_replaced(setup: JobSetup, templates: Path) -> None:
    (templates / "plain.yml").write_text("prompt: a {red|blue} fox\nsteps: 7\n", "utf-8")
    assert _prompts(setup, "template: plain") == ["a red fox", "a blue fox"]
    assert _prompts(setup, "template: plain\nprompt: an owl") == ["an owl"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "template: potraits\nprompt: a",
            "line 3, column 11: template: there is no template 'potraits'; did you mean 'portraits'?",
        ),
        ("template: ../secret\nprompt: a", "there is no template '../secret'"),
        ("template: loop\nprompt: a", "the template extends itself: loop.yaml -> other.yaml -> loop.yaml"),
        ("template: broken\nprompt: a", "template: broken.yaml, line 1, column 7"),
        ("template: wrong\nprompt: a", "wrong.yaml, line 2, column 8: steps: must be"),
        (
            "template: unknown\nprompt: a",
            "unknown.yaml, line 1, column 1: there is no key 'stepz'; did you mean `steps`",
        ),
        ("template: orphan\nprompt: a", "there is no template 'nobody'"),
        ("template: number\nprompt: a", "number.yaml: `extends` must be the name of a template"),
    ],
)
def test_mistakes_in_template_files_are_refused_with_their_place(
    setup: JobSetup, templates: Path, text: str, sentence: str
) -> None:
    for name, content in {
        "loop": "extends: other\n",
        "other": "extends: loop\n",
        "broken": "name: &x a\n",
        "wrong": "cfg: 5\nsteps: many\n",
        "unknown": "stepz: 4\n",
        "orphan": "extends: nobody\n",
        "number": "extends: 3\n",
    }.items():
        (templates / f"{name}.yaml").write_text(content, "utf-8")
    assert sentence in _refusal(setup, text)
