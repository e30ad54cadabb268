"""Job files in, rows and moved files out; every wrong input gets one sentence with its place and a suggestion."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from PIL import Image

from indexd.errors import JobRefused
from indexd.jobs.admission import admission
from indexd.jobs.admission.admission import Admitted, Declined, Ignored
from indexd.jobs.files import folders
from indexd.jobs.files.atomic import move_no_replace
from indexd.worker.calls import Render
from tests.support.model_files import SD1_LORA, SDXL_CHECKPOINT, write_model
from tests.support.recipes import file_names
from tests.unit.jobs.conftest import JobSetup, OpenSetup

posix_paths = pytest.mark.skipif(sys.platform == "win32", reason="the path means something else on Windows")

SMALL = "kind: txt2img\nprompt: a fox\nsize: 64x64\n"


def _refusal(setup: JobSetup, text: str) -> str:
    with pytest.raises(JobRefused) as caught:
        setup.jobs.submit(text.encode(), "x.yaml")
    return str(caught.value)


def test_model_files_are_looked_into_before_anything_is_queued(setup: JobSetup, home: Path) -> None:
    """Each with its place in the job file; the same file may be queued when it is mended."""
    models = home.parent / "models"
    write_model(models / "loras" / "old.safetensors", SD1_LORA)
    write_model(models / "vae" / "flux.safetensors", {"decoder.conv_in.weight": (512, 16, 3, 3)})
    (models / "checkpoints" / "page.safetensors").write_bytes(b"<html>")
    assert _refusal(setup, SMALL + "loras: [old]") == (
        "line 4, column 9: loras[0]: LoRA 'old' was made for Stable Diffusion 1, and indexd renders with SDXL; "
        "use a file made for SDXL"
    )
    assert "prompt: LoRA 'old' was made for" in _refusal(setup, "kind: txt2img\nprompt: a <lora:old:1>")
    assert "line 4, column 6: vae: VAE 'flux' has latents of 16 channels" in _refusal(setup, SMALL + "vae: flux")
    assert "model: checkpoint 'page' is a web page, not a model" in _refusal(setup, SMALL + "model: page")
    bare = {name: shape for name, shape in SDXL_CHECKPOINT.items() if not name.startswith("first_stage_model.")}
    write_model(models / "checkpoints" / "bare.safetensors", bare)
    assert "model: checkpoint 'bare' has no VAE; name one with `vae:`" in _refusal(setup, SMALL + "model: bare")
    assert setup.jobs.submit((SMALL + "model: bare\nvae: sdxl_vae").encode(), "x.yaml").id
    (models / "base.safetensors").write_bytes(b"")
    assert "model: checkpoint 'base' is empty (0 bytes)" in _refusal(setup, SMALL)
    assert len(list(setup.store.jobs.unfinished())) == 1


def test_names_as_a1111_writes_them_are_understood(setup: JobSetup) -> None:
    text = SMALL + "model: dream.safetensors [31e35c80fc]\nvae: Automatic\n"
    job = setup.jobs.submit(text.encode(), "x.yaml")
    recipe = setup.store.jobs.items(job.id)[0].settings["recipe"]
    assert (recipe["model"], recipe["vae"]) == ({"name": "dream", "hash": "31e35c80fc"}, None)


@pytest.mark.parametrize(
    ("stated", "compared"),
    [("31E35C80FC" + "0" * 54, "31e35c80fc"), ("7460a6fa", None), ("31e35c80fc12", None)],
)
def test_only_hashes_of_the_whole_file_are_compared(setup: JobSetup, stated: str, compared: str | None) -> None:
    job = setup.jobs.submit(f"{SMALL}model: dream [{stated}]\n".encode(), "x.yaml")
    assert setup.store.jobs.items(job.id)[0].settings["recipe"]["model"] == {"name": "dream", "hash": compared}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "prompt: a",
            "line 1, column 1: `kind` is missing; write one of img2img, inpaint, refine, regenerate, txt2img, upscale",
        ),
        ("kind: text2img\nprompt: a", "line 1, column 7: there is no kind 'text2img'; did you mean 'txt2img'?"),
        (
            "kind: [1]\nprompt: a",
            "line 1, column 7: there is no kind a list; there are img2img, inpaint, refine, regenerate, txt2img, upscale",
        ),
        ("kind: txt2img", "line 1, column 1: `prompt` is missing"),
        ("kind: txt2img\npromt: a", "`prompt` is missing; did you mean it by 'promt'?"),
        ("kind: txt2img\nprompt: a\nstpes: 3", "line 3, column 1: there is no key 'stpes'; did you mean `steps`?"),
        ("kind: txt2img\nprompt: a\ncfg_scale: 3", "there is no key 'cfg_scale'; here it is called `cfg`"),
        ("kind: txt2img\nprompt: a\ndenoise: 0.3", "there is no key 'denoise'"),
        (
            "kind: txt2img\nprompt: a\noutput: {foldr: x}",
            "line 3, column 10: there is no key 'foldr' in output; did you mean `folder`",
        ),
        (
            "kind: txt2img\nprompt: a\nloras:\n- film-grain: 0.8",
            "line 4, column 3: there is no key 'film-grain' in loras[0]; there are name, weight, text_weight, blocks",
        ),
        ("kind: txt2img\nprompt: 2024", "line 2, column 9: prompt: must be text (got 2024); put it in quotes"),
        ("kind: txt2img\nprompt:", "line 2, column 8: prompt: must be text (got nothing)"),
        ("kind: txt2img\nprompt: a\nsteps: '30'", "steps: must be a whole number (got '30')"),
        ("kind: txt2img\nprompt: a\nsteps: 30.5", "steps: must be a whole number (got 30.5)"),
        ("kind: txt2img\nprompt: a\nsteps: 0", "line 3, column 8: steps: must be at least 1 (got 0)"),
        ("kind: txt2img\nprompt: a\nsteps: true", "steps: must be a whole number (got True)"),
        ("kind: txt2img\nprompt: a\ncfg: .inf", "cfg: must be a number (got inf)"),
        ("kind: txt2img\nprompt: a\ncfg: high", "cfg: must be a number (got 'high')"),
        ("kind: txt2img\nprompt: a\nwidth: 100", "width: must be a multiple of 8 (got 100)"),
        ("kind: txt2img\nprompt: a\nsize: big", "size: must be width x height, such as 832x1216 (got 'big')"),
        (
            "kind: txt2img\nprompt: a\nsize: 100x64",
            "size: both sides must be multiples of 8 from 64 to 16384 (got '100x64')",
        ),
        (
            "kind: txt2img\nprompt: a\nsize: 64x64\nwidth: 64",
            "line 3, column 7: size: `width` or `height` is there as well",
        ),
        (
            "kind: txt2img\nprompt: a\nsize: 4096x4096",
            "line 3, column 7: size: 4096x4096 are 16.8 megapixels; at most 4.5",
        ),
        ("kind: txt2img\nprompt: a\nwidth: 8192", "line 3, column 8: width: 8192x1024 are 8.4 megapixels"),
        ("kind: txt2img\nprompt: a\ncount: 51", "line 3, column 8: count: 51 images; a job makes at most 50"),
        ("kind: txt2img\nprompt: a\nseeds: 1..60", "line 3, column 8: seeds: 60 images; a job makes at most 50"),
        ("kind: txt2img\nprompt: a\nseeds: 9..1", "seeds: the range '9..1' runs backwards; write 1..9"),
        (
            "kind: txt2img\nprompt: a\nseeds: many",
            "seeds: must be a list of seeds or a range such as 100..119 (got 'many')",
        ),
        ("kind: txt2img\nprompt: a\nseeds: [1, x]", "line 3, column 12: seeds[1]: must be a whole number (got 'x')"),
        ("kind: txt2img\nprompt: a\nseeds: []", "seeds: the list is empty"),
        ("kind: txt2img\nprompt: a\nseeds: [1]\nseed: 4", "line 4, column 7: seed: `seeds` is there as well"),
        ("kind: txt2img\nprompt: a\nseeds: [1, 2]\ncount: 3", "line 4, column 8: count: 3 images, but `seeds` has 2"),
        (f"kind: txt2img\nprompt: a\nseed: {2**64 - 1}\ncount: 2", "line 3, column 7: seed: counting up 2 images"),
        (f"kind: txt2img\nprompt: a\nseed: {2**64}", "seed: must be at most 18446744073709551615"),
        (
            "kind: txt2img\nprompt: a\nsampler: eular",
            "line 3, column 10: sampler: there is no sampler 'eular'; did you mean E",
        ),
        (
            "kind: txt2img\nprompt: a\nsampler: Restart\nschedule: beta",
            "line 4, column 11: schedule: sampler restart has no schedule beta; it takes karras",
        ),
        ("kind: txt2img\nprompt: a\nschedule: carras", "line 3, column 11: schedule: there is no schedule 'carras'"),
        ("kind: txt2img\nprompt: a\nsampler: DPM fast\nschedule: beta", "has no schedule beta; it takes none"),
        ("kind: txt2img\nprompt: a\ncfg_rescale: 1.5", "cfg_rescale: must be at most 1 (got 1.5)"),
        ("kind: txt2img\nprompt: a\nvariation: {strength: 2}", "variation.strength: must be at most 1 (got 2)"),
        (
            f"kind: txt2img\nprompt: a\ncount: 2\nvariation: {{seed: {2**64 - 1}}}",
            "variation.seed: counting up 2 images from there passes",
        ),
        ("kind: txt2img\nprompt: a\nvae: sdxl_vea", "line 3, column 6: vae: there is no VAE 'sdxl_vea'"),
        ("kind: txt2img\nprompt: a\nvae: sdxl_vea", "did you mean 'sdxl_vae'"),
        ("kind: txt2img\nprompt: a\nmodel: dreem", "line 3, column 8: model: there is no checkpoint 'dreem' in "),
        ("kind: txt2img\nprompt: a\nloras: [film_grain]", "line 3, column 9: loras[0]: there is no LoRA 'film_grain'"),
        ("kind: txt2img\nprompt: a\nloras: [film_grain]", "did you mean 'film-grain'"),
        (
            "kind: txt2img\nprompt: a\nloras: [{name: film-grain, weight: 20}]",
            "loras[0].weight: must be at most 10 (got 20)",
        ),
        ("kind: txt2img\nprompt: a\nloras: [film-grain, FILM-GRAIN]", "loras[1]: 'film-grain' is named twice"),
        ("kind: txt2img\nprompt: a\nloras: film-grain", "loras: must be a list (got 'film-grain')"),
        ("kind: txt2img\nprompt: a\npriority: urgent", "priority: must be low, normal, high or a whole number"),
        ("kind: txt2img\nprompt: a\noutput: ../x", "line 3, column 9: output.folder: `..` is not used in folders"),
        ("kind: txt2img\nprompt: a\noutput: a/../../x", "`..` is not used in folders"),
        pytest.param(
            "kind: txt2img\nprompt: a\noutput: /nowhere/at/all",
            "neither /nowhere/at/all nor /nowhere/at exists",
            marks=posix_paths,
        ),
        pytest.param(
            "kind: txt2img\nprompt: a\noutput: ~nobody-of-that-name/x",
            "there is no folder '~nobody-of-that-name/x' on this system",
            marks=posix_paths,
        ),
        pytest.param(
            "kind: txt2img\nprompt: a\noutput: C:/x", "there is no folder 'C:/x' on this system", marks=posix_paths
        ),
        ("kind: txt2img\nprompt: a\noutput: x/con", "output.folder: 'con' is no good name for a folder; '_con' is"),
        ("kind: txt2img\nprompt: a\noutput: {name: a/b}", "line 3, column 16: output.name: a name holds no folder"),
        ("kind: txt2img\nprompt: a\noutput: {name: '{sed}'}", "there is no {sed}; did you mean {seed}?"),
        ("kind: txt2img\nprompt: a\noutput: {name: '{seed.__class__}'}", "there is no {seed.__class__}"),
        ("kind: txt2img\nprompt: a\noutput: {name: 'a{'}", "contains a single { or }"),
        ("kind: img2img\nprompt: a", "`input` is missing"),
        ("kind: img2img\nprompt: a\nimage: b.png", "`input` is missing; did you mean it by 'image'"),
        ("kind: img2img\nprompt: a\ninput: none.png", "line 3, column 8: input: there is no file "),
        ("kind: img2img\nprompt: a\ninput: .", "is not a regular file"),
        ("kind: img2img\nprompt: a\ninput: ../home/x.png", "is no path that can be used"),
        ("kind: img2img\nprompt: a\ninput: text.png", "cannot be used: "),
        ("kind: img2img\nprompt: a\ninput: text.png\ndenoise: 0", "denoise: must be more than 0 (got 0)"),
    ],
)
def test_one_sentence_a_mistake(setup: JobSetup, text: str, sentence: str) -> None:
    (setup.inbox / "text.png").write_text("not a picture")
    assert sentence in _refusal(setup, text)


def test_every_mistake_is_named_in_the_order_of_the_file(setup: JobSetup) -> None:
    lines = _refusal(setup, "kind: txt2img\nsteps: x\nprompt: 3\ncfgg: 1\n").splitlines()
    assert [line.split(":")[0] for line in lines] == ["line 2, column 8", "line 3, column 9", "line 4, column 1"]


def test_a_whole_job(setup: JobSetup, tmp_path: Path) -> None:
    setup.drop(
        """\
kind: txt2img
prompt: "a fox: at night"
negative_prompt: blurry
seeds: 7..9
width: 832
height: 1216
steps: 25
cfg: 6
sampler: DPM++ 2M Karras
clip_skip: 2
model: Flat
loras:
  - film-grain
  - {name: detail tweaker, weight: 0.5, text_weight: 0}
output: {folder: foxes/night, name: "{name} {seed} {model}"}
priority: high
""",
        "fox.yaml",
    )
    admitted = setup.jobs.admit_file(setup.inbox / "fox.yaml")
    assert isinstance(admitted, Admitted)
    job = admitted.job
    assert (job.name, job.kind, job.state, job.priority, job.file_location) == (
        "fox",
        "txt2img",
        "queued",
        10,
        "accepted",
    )
    assert setup.listed("accepted") == ["fox.yaml"]
    assert setup.listed(".") == []
    items = setup.store.jobs.items(job.id)
    assert [item.seed for item in items] == [7, 8, 9]
    assert os.fsdecode(items[0].path) == str(setup.output / "foxes" / "night" / "fox 7 flat.png")
    assert items[0].settings["recipe"] == {
        "recipe_version": 1,
        "kind": "txt2img",
        "prompt": "a fox: at night",
        "negative_prompt": "blurry",
        "seed": 7,
        "variation": None,
        "noise": None,
        "width": 832,
        "height": 1216,
        "steps": 25,
        "step_counting": "taken",
        "cfg": 6.0,
        "cfg_rescale": 0.0,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "timesteps": "interpolated",
        "clip_skip": 2,
        "model": {"name": "anime/flat", "hash": None},
        "vae": None,
        "loras": [
            {"name": "film-grain", "weight": 1.0, "text_weight": None, "hash": None, "blocks": None},
            {"name": "detail tweaker", "weight": 0.5, "text_weight": 0.0, "hash": None, "blocks": None},
        ],
        "embeddings": [],
        "prompt_syntax": "a1111",
        "input": None,
        "mask": None,
        "control": [],
        "reference": [],
        "stages": [],
        "template": None,
        "choices": {},
        "score": [],
        "scores": None,
        "output": None,
        "family": None,
        "dtype": None,
        "job": None,
        "software": None,
    }


def test_seeds_are_drawn_once_and_count_up_from_a_given_one(setup: JobSetup) -> None:
    drawn = setup.jobs.submit((SMALL + "count: 3").encode(), "a.yaml")
    assert [item.seed for item in setup.store.jobs.items(drawn.id)] == [1000, 1001, 1002]
    random = setup.jobs.submit((SMALL + "seed: -1").encode(), "a.yaml")
    assert [item.seed for item in setup.store.jobs.items(random.id)] == [1003]
    given = setup.jobs.submit((SMALL + f"seed: {2**64 - 2}\ncount: 2").encode(), "a.yaml")
    assert [item.seed for item in setup.store.jobs.items(given.id)] == [2**64 - 2, 2**64 - 1]


def test_variations_keep_the_seed_and_count_the_second_one_up(setup: JobSetup) -> None:
    job = setup.jobs.submit((SMALL + "count: 3\nseed: 5\nvariation: {seed: 9, strength: 0.2}").encode(), "a.yaml")
    recipes = [item.settings["recipe"] for item in setup.store.jobs.items(job.id)]
    assert [(one["seed"], one["variation"]) for one in recipes] == [
        (5, {"seed": seed, "strength": 0.2}) for seed in (9, 10, 11)
    ]
    drawn = setup.jobs.submit((SMALL + "seeds: [1, 2]\nvariation: {}").encode(), "a.yaml")
    recipes = [item.settings["recipe"] for item in setup.store.jobs.items(drawn.id)]
    assert [(one["seed"], one["variation"]["seed"]) for one in recipes] == [(1, 1000), (2, 1001)]
    assert recipes[0]["variation"]["strength"] == 0.1


def test_a_vae_of_the_folders_goes_to_the_worker(setup: JobSetup) -> None:
    setup.jobs.submit((SMALL + "vae: SDXL_VAE\ncfg_rescale: 0.7").encode(), "a.yaml")
    setup.work()
    renders = [call for call in setup.workers.calls if isinstance(call, Render)]
    assert [(file_names(call, "vae"), call.recipe.cfg_rescale) for call in renders] == [
        ({"sdxl_vae": "sdxl_vae.safetensors"}, 0.7)
    ]


def test_img2img_takes_size_and_hash_of_its_source(setup: JobSetup) -> None:
    source = setup.inbox / "sketch.png"
    Image.new("RGB", (203, 130)).save(source)
    job = setup.jobs.submit(b"kind: img2img\nprompt: a\ninput: sketch.png\ndenoise: 0.4", "i.yaml")
    settings = setup.store.jobs.items(job.id)[0].settings
    assert (settings["recipe"]["width"], settings["recipe"]["height"]) == (200, 128)
    expected = {"hash": blake3(source.read_bytes()).hexdigest(), "name": "sketch.png", "denoise": 0.4}
    assert settings["recipe"]["input"] == expected
    assert settings["images"] == {expected["hash"]: str(source)}


def test_a_refused_file_lies_in_failed_with_the_reason_beside_it(setup: JobSetup) -> None:
    for number in range(2):
        path = setup.drop(f"kind: txt2img\nprompt: a\nsteps: {number - 5}\n", "bad.yaml")
        declined = setup.jobs.admit_file(path)
        assert isinstance(declined, Declined)
    assert setup.listed("failed") == ["bad-2.yaml", "bad-2.yaml.error.txt", "bad.yaml", "bad.yaml.error.txt"]
    text = (setup.inbox / "failed" / "bad.yaml.error.txt").read_text()
    assert text == "bad.yaml: line 3, column 8: steps: must be at least 1 (got -5)\n"
    assert setup.listed(".") == []
    assert setup.store.jobs.counts() == {}


def test_a_file_that_is_too_large_or_unreadable_is_refused_unread(setup: JobSetup) -> None:
    path = setup.inbox / "big.yaml"
    path.write_bytes(b"x" * 300_000)
    declined = setup.jobs.admit_file(path)
    assert isinstance(declined, Declined)
    assert "300000 bytes" in declined.reason
    assert (setup.inbox / "failed" / "big.yaml").stat().st_size == 300_000


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX")
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("what", ["listdir", "walk", "input"])
def test_trouble_of_the_machine_is_no_fault_of_the_job(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    """The file stays in the inbox, and whoever brought it tries again."""
    picture = setup.inbox / "in.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    text = SMALL if what == "listdir" else "kind: img2img\nprompt: a fox\ninput: "
    text += {"listdir": "", "walk": "{folder: .}\n", "input": "in.png\n"}[what]
    (setup.inbox / "x.yaml").write_text(text)
    broken = OSError(number, os.strerror(number))

    def fail(*_: object, **more: Any) -> Any:
        if "onerror" in more:
            more["onerror"](broken)
        raise broken

    name = {
        "listdir": "os.listdir",
        "walk": "indexd.jobs.admission.input_selection.os.walk",
        "input": "indexd.jobs.admission.inputs.read_image_file",
    }[what]
    with monkeypatch.context() as patch:
        patch.setattr(name, fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            setup.jobs.admit_file(setup.inbox / "x.yaml")
    assert (setup.inbox / "x.yaml").exists()
    assert isinstance(setup.jobs.admit_file(setup.inbox / "x.yaml"), Admitted)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses such a file name")
def test_a_name_that_is_not_utf_8_is_refused(setup: JobSetup) -> None:
    path = setup.inbox / os.fsdecode(b"caf\xe9.yaml")
    path.write_text(SMALL)
    declined = setup.jobs.admit_file(path)
    assert isinstance(declined, Declined)
    assert "not UTF-8" in declined.reason
    assert declined.path.exists()


def test_other_files_are_left_alone(setup: JobSetup) -> None:
    (setup.inbox / "mine").mkdir()
    for name in ("a.txt", "mine/b.yaml", "x.result.json", "accepted/c.yaml"):
        path = setup.drop(SMALL, name)
        assert setup.jobs.admit_file(path) == Ignored()
        assert path.exists()
    assert setup.jobs.admit_file(setup.inbox / "gone.yaml") == Ignored()
    if hasattr(os, "mkfifo"):
        os.mkfifo(setup.inbox / "pipe.yaml")
        assert setup.jobs.admit_file(setup.inbox / "pipe.yaml") == Ignored()


def test_the_same_file_dropped_again_is_a_new_job(setup: JobSetup) -> None:
    for _ in range(2):
        setup.jobs.admit_file(setup.drop(SMALL))
    assert setup.store.jobs.counts() == {"queued": 2}
    assert setup.listed("accepted") == ["x.job2.yaml", "x.yaml"]
    setup.work()
    assert setup.listed("accepted") == []
    assert setup.listed("done") == ["x.job2.result.json", "x.job2.yaml", "x.result.json", "x.yaml"]
    assert json.loads((setup.inbox / "done" / "x.job2.result.json").read_text())["job_id"] == 2


def test_a_death_between_row_and_move_is_harmless(
    setup: JobSetup, open_setup: OpenSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = setup.drop(SMALL)
    monkeypatch.setattr(
        setup.jobs.file_sync.folders, "accept", lambda job, twins: (_ for _ in ()).throw(OSError("gone"))
    )
    setup.jobs.admit_file(path)
    assert path.exists()
    setup.jobs.admit_file(path)
    assert setup.store.jobs.counts() == {"queued": 1}
    again = open_setup()
    assert not path.exists()
    assert again.listed("accepted") == ["x.yaml"]
    assert again.store.jobs.counts() == {"queued": 1}


def test_a_death_in_the_middle_of_a_move_is_harmless(setup: JobSetup, open_setup: OpenSetup) -> None:
    path = setup.drop(SMALL)
    job = setup.jobs.admit_file(path)
    assert isinstance(job, Admitted)
    os.link(setup.inbox / "accepted" / "x.yaml", path)
    setup.store.jobs.set_file_location(job.job.id, "inbox")
    again = open_setup()
    assert not path.exists()
    assert again.listed("accepted") == ["x.yaml"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only the writer of a file sync it")
@pytest.mark.parametrize(("text", "folder"), [(SMALL, "accepted"), ("kind: nonsense\n", "failed")])
def test_a_job_file_that_its_writer_had_not_synced_outlives_a_power_cut_once(
    setup: JobSetup, monkeypatch: pytest.MonkeyPatch, text: str, folder: str
) -> None:
    path = setup.drop(text)
    synced: list[int] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    ours = path.stat().st_ino
    setup.jobs.admit_file(path)
    moved = setup.inbox / folder / "x.yaml"
    assert moved.stat().st_ino == ours
    # Its bytes before its name, and that it left the inbox as well as that it came.
    after = synced[synced.index(ours) :]
    assert {moved.parent.stat().st_ino, setup.inbox.stat().st_ino} <= set(after)


def test_a_file_saved_anew_in_the_moment_of_the_move_is_not_swallowed(setup: JobSetup, open_setup: OpenSetup) -> None:
    path = setup.drop(SMALL)
    job = setup.jobs.admit_file(path)
    assert isinstance(job, Admitted)
    (setup.inbox / "accepted" / "x.yaml").unlink()
    setup.store.jobs.set_file_location(job.job.id, "inbox")
    path.write_text(SMALL + "seed: 5\n")
    again = open_setup()
    assert path.exists()
    assert (again.inbox / "accepted" / "x.yaml").read_text() == SMALL
    assert isinstance(again.jobs.admit_file(path), Admitted)
    assert again.listed("accepted") == ["x.job2.yaml", "x.yaml"]


def test_a_submitted_job_has_a_file_to_look_at(setup: JobSetup) -> None:
    job = setup.jobs.submit(SMALL.encode(), "../../evil/fox.yml")
    assert (job.name, job.file_location) == ("fox", "accepted")
    assert (setup.inbox / "accepted" / "fox.yaml").read_text() == SMALL


def test_names_of_waiting_and_of_foreign_pictures_are_passed_over(setup: JobSetup) -> None:
    (setup.output / "X-0001.PNG").touch()
    first = setup.jobs.admit_file(setup.drop(SMALL))
    second = setup.jobs.admit_file(setup.drop(SMALL))
    assert isinstance(first, Admitted)
    assert isinstance(second, Admitted)
    names = [os.path.basename(item.path) for job in (first, second) for item in setup.store.jobs.items(job.job.id)]
    assert names == [b"x-0001-2.png", b"x-0001-3.png"]


def test_without_any_model_a_job_is_refused(home: Path, open_setup: OpenSetup) -> None:
    (home / "indexd.toml").write_text("")
    from indexd.config import read_config
    from indexd.jobs.service import JobService

    setup = open_setup()
    jobs = JobService(setup.store, read_config(home))
    with pytest.raises(JobRefused, match=r"line 1, column 1: model: no checkpoint is named; name one with `model:`"):
        jobs.submit(SMALL.encode(), "x.yaml")


def test_a_finished_file_moved_back_to_the_inbox_is_a_new_job(setup: JobSetup) -> None:
    """It is the same file by inode, times and content."""
    path = setup.drop(SMALL)
    for number in range(1, 4):
        setup.jobs.admit_file(path)
        setup.work()
        name = "x.yaml" if number == 1 else f"x.job{number}.yaml"
        (setup.inbox / "done" / name).rename(path)
    assert setup.store.jobs.counts() == {"done": 3}
    assert len(setup.images()) == 3


def test_a_file_that_changes_between_look_and_move_goes_back(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_link(source: Path, target: Path) -> None:
        monkeypatch.undo()
        source.write_text("kind: txt2img\nprompt: another\n")
        move_no_replace(source, target)

    path = setup.drop(SMALL)
    monkeypatch.setattr(folders, "move_no_replace", slow_link)
    setup.jobs.admit_file(path)
    assert path.read_text() == "kind: txt2img\nprompt: another\n"
    assert (setup.inbox / "accepted" / "x.yaml").read_text() == SMALL


def test_a_job_that_ended_before_its_file_could_be_moved(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    path = setup.drop(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "move_no_replace", lambda source, target: (_ for _ in ()).throw(OSError("not now")))
        setup.jobs.admit_file(path)
        setup.work()
    assert path.exists()
    setup.jobs.admit_file(path)
    assert not path.exists()
    assert setup.listed("done") == ["x.result.json", "x.yaml"]
    assert setup.store.jobs.counts() == {"done": 1}


@pytest.mark.parametrize("edited", [False, True])
def test_a_job_whose_every_move_is_forgotten_by_the_ledger(setup: JobSetup, edited: bool) -> None:
    """The index was locked each time when a move was to be noted."""
    taken = setup.jobs.admit_file(setup.drop(SMALL))
    assert isinstance(taken, Admitted)
    setup.work()
    if edited:
        (setup.inbox / "done" / "x.yaml").write_text("mine now\n")
    for _ in range(2):
        setup.store.jobs.set_file_location(taken.job.id, "inbox")
        setup.jobs.file_sync.settle_all()
        assert setup.listed("accepted") == []
        job = setup.store.jobs.get(taken.job.id)
        assert job is not None
        assert job.file_location == "done"
    again = ["x.job1.result.json", "x.job1.yaml"] if edited else []
    assert setup.listed("done") == [*again, "x.result.json", "x.yaml"]
    assert (setup.inbox / "done" / "x.yaml").read_text() == ("mine now\n" if edited else SMALL)


def test_names_of_pictures_long_made_are_not_kept_for_ever(setup: JobSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "RESERVED_NAMES_KEPT", 10)
    for number in range(8):
        setup.jobs.admit_file(setup.drop(SMALL + "count: 5", f"{number}.yaml"))
        setup.work()
    claimed = setup.jobs._admission._reserved
    assert claimed is not None
    assert sum(len(names) for names in claimed.values()) <= 15
    taken = [
        setup.jobs.admit_file(setup.drop(SMALL + "output: {name: same}", f"same{number}.yaml")) for number in range(2)
    ]
    setup.work()
    assert all(isinstance(outcome, Admitted) for outcome in taken)
    assert {"same.png", "same-2.png"} <= set(setup.images())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses such a file name")
def test_a_name_that_would_move_the_cursor_is_made_plain(setup: JobSetup) -> None:
    outcome = setup.jobs.admit_file(setup.drop(SMALL, "a\x1b[2J\u202eb.yaml"))
    assert isinstance(outcome, Admitted)
    assert outcome.job.name == "a_[2J_b"
    setup.work()
    assert "a\x1b[2J\u202eb.yaml" in setup.listed("done")


@pytest.mark.parametrize(
    ("name", "text", "job_name"),
    [
        ("fox.json", '{"kind": "txt2img", "prompt": "a fox", "size": "64x64"}', "fox"),
        ("fox.yaml.txt", SMALL, "fox"),
        ("Fox.YML.TXT", SMALL, "Fox"),
    ],
)
def test_json_and_names_with_a_hidden_txt_are_job_files(setup: JobSetup, name: str, text: str, job_name: str) -> None:
    admitted = setup.jobs.admit_file(setup.drop(text, name))
    assert isinstance(admitted, Admitted)
    assert admitted.job.name == job_name
    setup.work()
    assert name in setup.listed("done")


@pytest.mark.parametrize("text", ["{}", "[1, 2]", '{"nodes": []}'])
def test_json_that_is_no_job_is_refused_with_the_reason(setup: JobSetup, text: str) -> None:
    declined = setup.jobs.admit_file(setup.drop(text, "workflow.json"))
    assert isinstance(declined, Declined)
    assert setup.listed("failed") == ["workflow.json", "workflow.json.error.txt"]


@pytest.mark.parametrize("stages", ["", "hires: {scale: 2}\n"])
def test_a_size_taken_from_the_input_obeys_the_limits_of_a_stated_one(setup: JobSetup, stages: str) -> None:
    Image.new("RGB", (65_535, 64)).save(setup.inbox / "wide.png")
    with pytest.raises(JobRefused, match="input: 65528x64 pixels; a side has at most 16384, name a `size`"):
        setup.jobs.submit(f"kind: img2img\nprompt: a\ninput: wide.png\n{stages}".encode(), "x.yaml")


def test_a_finished_image_with_too_long_a_side_is_refused(setup: JobSetup) -> None:
    Image.new("RGB", (65_535, 64)).save(setup.inbox / "wide.png")
    with pytest.raises(
        JobRefused, match="input: 65535x64 pixels; a side has at most 16384, crop or shrink the image first"
    ):
        setup.jobs.submit(b"kind: upscale\ninput: wide.png\nupscale: {model: x}\nresize: {max_side: 512}\n", "x.yaml")
