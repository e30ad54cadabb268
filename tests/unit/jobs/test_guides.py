"""Controls and references at admission: found by name or by type, refused with what to do, and handed to the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from PIL import Image

from indexd.errors import JobRefused
from indexd.jobs.queue.retry import InputImageGone
from indexd.jobs.render_kind import build_render_call
from indexd.worker.calls import FileRef, Render
from indexd_schemas.recipe_part import FileKey
from tests.support.model_files import IP_ADAPTER, SDXL_CONTROL_NET, write_model
from tests.support.recipes import file_names
from tests.unit.jobs.conftest import JobSetup
from tests.unit.jobs.test_selection import record

START = "kind: txt2img\nprompt: x\nsize: 64x64\n"


@pytest.fixture
def home(home: Path) -> Path:
    controls, references = home.parent / "models" / "controlnet", home.parent / "models" / "ipadapter"
    for folder in (controls / "xl-openpose", references / "image_encoder"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}", "utf-8")
        write_model(folder / "model.safetensors", SDXL_CONTROL_NET)
    for name in ("canny-sdxl", "odd"):
        write_model(controls / f"{name}.safetensors", SDXL_CONTROL_NET)
    write_model(references / "adapter.safetensors", IP_ADAPTER)
    write_model(controls / "all-in-one.safetensors", {**SDXL_CONTROL_NET, "task_embedding": (6, 320)})
    with (home / "indexd.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'[control]\nfolders = ["{controls.as_posix()}"]\n')
        settings.write(f'reference_folders = ["{references.as_posix()}"]\n')
    Image.new("RGB", (64, 48), "navy").save(home / "inbox" / "in.png")
    return home


def admitted(setup: JobSetup, text: str) -> Any:
    job = setup.jobs.submit((START + text).encode(), "x.yaml")
    return job, setup.store.jobs.items(job.id)[0]


def test_a_control_becomes_an_entry_with_its_picture(setup: JobSetup) -> None:
    _, item = admitted(
        setup, "control:\n  - {type: canny, image: in.png, strength: 0.7, end: 0.5}\n  - {type: openpose, image: in.png, preprocess: false}\n"
    )  # fmt: skip
    content = blake3((setup.inbox / "in.png").read_bytes()).hexdigest()
    canny, pose = item.settings["recipe"]["control"]
    assert (canny["model"]["name"], canny["image"], canny["image_name"]) == ("canny-sdxl", content, "in.png")
    assert (canny["strength"], canny["start"], canny["end"], canny["low"]) == (0.7, 0.0, 0.5, 100)
    assert (pose["type"], pose["model"]["name"], pose["preprocess"]) == ("pose", "xl-openpose", False)
    call = build_render_call(item, setup.jobs.catalogue).call
    assert list(file_names(call, "controlnet").values()) == ["canny-sdxl.safetensors", "xl-openpose"]
    assert isinstance(call, Render)
    assert call.files[FileKey("image", content)] == FileRef(bytes(setup.inbox / "in.png"), content)


def test_a_type_without_a_model_of_its_own_takes_the_union(setup: JobSetup) -> None:
    _, item = admitted(setup, "control: [{type: scribble, image: in.png}]\n")
    assert item.settings["recipe"]["control"][0]["model"]["name"] == "all-in-one"


def test_the_jobs_input_is_the_picture_where_none_is_named(setup: JobSetup) -> None:
    text = "kind: img2img\nprompt: x\ninput: in.png\ncontrol: [canny]\nreference: [{weight: 0.5}]\n"
    job = setup.jobs.submit(text.encode(), "y.yaml")
    settings = setup.store.jobs.items(job.id)[0].settings
    content = settings["recipe"]["input"]["hash"]
    assert settings["images"] == {content: str(setup.inbox / "in.png")}
    assert settings["recipe"]["control"][0]["image"] == settings["recipe"]["reference"][0]["image"] == content
    assert settings["recipe"]["reference"][0]["model"]["name"] == "adapter"
    assert settings["recipe"]["reference"][0]["weight"] == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("control: [{type: cany, image: in.png}]", "there is no control type 'cany'; did you mean canny"),
        ("control: [{type: canny}]", "control[0]: `image` is missing, and the job has no input"),
        ("control: [{type: canny, image: gone.png}]", "control[0].image: there is no file"),
        ("control: [{type: canny, image: in.png, model: canny-sdlx}]", "did you mean canny-sdxl"),
        ("control: [{type: canny, image: in.png, start: 0.6, end: 0.5}]", "start must not lie after end (0.6 and 0.5)"),
        ("control: [{type: canny, image: in.png, strength: 11}]", "control[0].strength: must be at most 10 (got 11)"),
        ("control: [{type: depth, image: in.png}]", "depth maps need a model, and none is set ([control] depth_model)"),
        ("control: [{type: normal, image: in.png}]", "nothing here makes normal maps; give the map itself as image"),
        ("control: [{type: tile, image: in.png}]", "no ControlNet's name says that it is for tile; name one with `model`"),
        ("control: [{type: tile, image: in.png, model: all-in-one}]", "all-in-one is a union of canny, depth, pose, lineart"),
        ("control: [{kind: canny, image: in.png}]", "there is no key 'kind' in control[0]"),
        ("controlnet: []", "here it is called `control`"),
        ("reference: [{image: in.png, model: adaptor}]", "reference[0].model: there is no IP-Adapter 'adaptor'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_to_do(setup: JobSetup, text: str, words: str) -> None:
    with pytest.raises(JobRefused) as refused:
        admitted(setup, text + "\n")
    assert words in str(refused.value).replace("'canny-sdxl'", "canny-sdxl")
    assert str(refused.value).startswith("line 4")


def test_several_that_fit_are_not_chosen_from(setup: JobSetup, home: Path) -> None:
    write_model(home.parent / "models" / "controlnet" / "xl-canny-small.safetensors", SDXL_CONTROL_NET)
    with pytest.raises(JobRefused, match="several ControlNets are for canny: canny-sdxl, xl-canny-small; choose one"):
        admitted(setup, "control: [{type: canny, image: in.png}]\n")


def test_a_control_picture_that_changed_is_noticed(setup: JobSetup) -> None:
    _, item = admitted(setup, "control: [{type: canny, image: in.png}]\n")
    Image.new("RGB", (64, 48), "red").save(setup.inbox / "in.png")
    with pytest.raises(InputImageGone, match=r"the canny image in\.png .* is not the one"):
        build_render_call(item, setup.jobs.catalogue)


def test_each_input_is_the_picture_of_its_own_controls(setup: JobSetup) -> None:
    Image.new("RGB", (64, 48), "red").save(setup.inbox / "other.png")
    text = "kind: img2img\nprompt: x\ninput: [in.png, other.png]\ncontrol: [canny]\n"
    job = setup.jobs.submit(text.encode(), "y.yaml")
    for item in setup.store.jobs.items(job.id):
        assert len(item.settings["images"]) == 1
        assert item.settings["recipe"]["control"][0]["image"] == item.settings["recipe"]["input"]["hash"]


def test_a_picture_made_with_controls_is_made_again_with_them(setup: JobSetup) -> None:
    for name in ("edges", "style"):
        Image.new("RGB", (64, 48), "red" if name == "edges" else "green").save(setup.inbox / f"{name}.png")
    text = "seed: 3\ncontrol: [{type: canny, image: edges.png, strength: 0.5, low: 50}]\nreference: [{image: style.png, weight: 0.4}]\n"
    _, item = admitted(setup, text)
    setup.work()
    again = f"kind: regenerate\ninput: '{setup.output / 'x-0001.png'}'\n".encode()
    with pytest.raises(JobRefused, match=r"made with the .* image (edges|style)\.png .* which is not in the index"):
        setup.jobs.submit(again, "again.yaml")
    places = {name: record(setup, setup.inbox / f"{name}.png") for name in ("edges", "style")}
    assert len(set(places.values())) == 2
    repeated = setup.store.jobs.items(setup.jobs.submit(again, "again.yaml").id)[0].settings
    assert repeated["recipe"] == item.settings["recipe"]
    assert sorted(Path(path).name for path in repeated["images"].values()) == ["edges.png", "style.png"]
