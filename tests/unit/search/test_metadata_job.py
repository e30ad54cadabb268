"""Job files from the metadata of indexd and of other programs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from indexd.errors import IndexdError
from indexd.image_metadata.model import (
    CharacterPrompt,
    ControlUse,
    DetailerUse,
    EmbeddingUse,
    ImageMetadata,
    MetadataLora,
    SamplerPass,
)
from indexd.jobs.export.from_metadata import NOT_SETTINGS, job_from_metadata
from indexd.jobs.export.job_file import JobFile
from indexd.jobs.parsing.yaml_guard import parse_yaml
from indexd_schemas.jobs.job import JOB_KINDS, Job
from indexd_schemas.recipe_part import FileKind


def present(_kind: FileKind, _name: str) -> None:
    return None


def missing(kind: FileKind, name: str) -> str:
    return f"there is no {kind} {name!r}"


def made(metadata: ImageMetadata, size: tuple[int, int] = (512, 768), source: str | None = None) -> JobFile:
    return job_from_metadata(metadata, size, source, present)


def loaded(job: JobFile) -> Job:
    """The job as the inbox reads it: through the guard and the schema."""
    data = parse_yaml(job.render("From a test.").encode()).data
    return JOB_KINDS[data["kind"]].model_validate(data)


A1111: dict[str, Any] = {
    "generator": "a1111",
    "prompt": 'a "cat", <lora:film grain:0.6> (fur:1.2)\nmasterpiece',
    "negative_prompt": "blurry: yes",
    "seed": str(2**64 - 1),
    "steps": 28,
    "cfg": 6.5,
    "sampler": "DPM++ 2M Karras",
    "clip_skip": 2,
    "model_name": "ponyXL",
    "gen_width": 832,
    "gen_height": 1216,
    "loras": (MetadataLora("film grain", 0.6), MetadataLora("detail", -0.5, 0.2)),
}


def test_metadata_of_another_program_becomes_a_job() -> None:
    file = made(ImageMetadata(**A1111), (832, 1216))
    job = loaded(file)
    assert file.remarks == []
    assert job.kind == "txt2img"
    assert job.prompt == 'a "cat",  (fur:1.2)\nmasterpiece'
    assert job.negative_prompt == "blurry: yes"
    assert (job.seed, job.steps, job.cfg, job.clip_skip) == (2**64 - 1, 28, 6.5, None)
    assert (job.width, job.height, job.model) == (832, 1216, "ponyXL")
    assert (job.sampler, job.schedule) == ("dpmpp_2m", "karras")
    assert [(use.name, use.weight, use.text_weight) for use in job.loras] == [
        ("film grain", 0.6, None),
        ("detail", -0.5, 0.2),
    ]


def test_a1111_metadata_gets_a1111_definitions_and_comfyui_metadata_does_not() -> None:
    sampling = {"sampler": "Euler", "schedule": "Beta", "steps": 20, "denoise": 0.5, "input_hash": "ab" * 32}
    jobs = {
        program: loaded(made(ImageMetadata(**A1111 | sampling | {"generator": program}), source="source.png"))
        for program in ("a1111", "forge", "comfyui")
    }
    assert {program: (job.schedule, job.step_counting) for program, job in jobs.items()} == {
        "a1111": ("beta_a1111", "a1111_img2img"),
        "forge": ("beta_a1111", "a1111_img2img"),
        "comfyui": ("beta", "taken"),
    }


@pytest.mark.parametrize(
    ("program", "kept", "remarks"),
    [("a1111", None, ["clip_skip: 3, which A1111 ignores for SDXL"]), ("forge", 3, []), ("comfyui", 3, [])],
)
def test_clip_skip_is_converted_by_program(program: str, kept: int | None, remarks: list[str]) -> None:
    file = made(ImageMetadata(**A1111 | {"generator": program, "clip_skip": 3}), (832, 1216))
    assert (loaded(file).clip_skip, file.remarks) == (kept, remarks)


@pytest.mark.parametrize(("program", "kept"), [("a1111", None), ("forge", 2), ("comfyui", 1)])
def test_clip_skip_1_is_2_where_the_program_takes_no_later_layer(program: str, kept: int | None) -> None:
    file = made(ImageMetadata(**A1111 | {"generator": program, "clip_skip": 1}), (832, 1216))
    assert (loaded(file).clip_skip, file.remarks) == (kept, [])


@pytest.mark.parametrize(
    ("fields", "noise", "timesteps"),
    [
        ({"generator": "a1111"}, {"source": "a1111"}, "interpolated"),
        ({"generator": "forge", "extras": (("RNG", "NV"),)}, {"source": "a1111"}, "interpolated"),
        (
            {"extras": (("RNG", "CPU"), ("ENSD", "31337"), ("Seed resize from", "512x768"))},
            {"source": "a1111_cpu", "seed_delta": 31337, "resize_from": "512x768"},
            "interpolated",
        ),
        ({"extras": (("ENSD", "0"), ("Seed resize from", "-1x-1"))}, {"source": "a1111"}, "interpolated"),
        ({"generator": "comfyui", "sampler": "euler"}, {"source": "comfyui"}, "rounded"),
        ({"generator": "comfyui", "sampler": "dpmpp_sde_gpu"}, {"source": "comfyui", "brownian": "gpu"}, "rounded"),
        ({"generator": "invokeai"}, None, "interpolated"),
    ],
)
def test_the_noise_is_that_of_the_program(fields: dict[str, Any], noise: dict[str, Any] | None, timesteps: str) -> None:
    file = made(ImageMetadata(**A1111 | {"generator": "a1111"} | fields), (832, 1216))
    job = loaded(file)
    found = None if job.noise is None else job.noise.model_dump(exclude_defaults=True)
    assert (found, job.timesteps, file.remarks) == (noise, timesteps, [])


def test_prompts_of_comfyui_are_read_as_there() -> None:
    programs = ("comfyui", "swarmui", "a1111")
    jobs = [loaded(made(ImageMetadata(**A1111 | {"generator": one, "sampler": "euler"}))) for one in programs]
    assert [job.prompt_syntax for job in jobs] == ["comfyui", "a1111", "a1111"]


def test_a_variation_of_a1111_stays_one_and_unsupported_settings_are_remarks() -> None:
    fields = {"variation_seed": "99", "variation_strength": 0.25, "extras": (("Eta", "0.5"),)}
    file = made(ImageMetadata(**A1111 | {"generator": "a1111"} | fields), (832, 1216))
    variation = loaded(file).variation
    assert variation is not None
    assert (variation.seed, variation.strength) == (99, 0.25)
    assert file.remarks == ["Eta: 0.5"]


def test_an_img2img_recipe_of_indexd_finds_its_source() -> None:
    metadata = ImageMetadata(generator="indexd", prompt="x", seed="1", denoise=0.4, input_hash="ab" * 32)
    job = loaded(made(metadata, source="/pictures/source.png"))
    assert job.model_dump(include={"kind", "input", "denoise"}, exclude_unset=True) == {
        "kind": "img2img",
        "input": {"files": ["/pictures/source.png"]},
        "denoise": 0.4,
    }
    lost = made(metadata)
    assert loaded(lost).kind == "txt2img"
    assert lost.remarks == ["input: made from the image abababababab…, which is not in the index"]


def test_unsupported_metadata_becomes_a_comment() -> None:
    file = made(
        ImageMetadata(
            **{**A1111, "sampler": "DPM++ SDE Karras", "gen_width": 500, "denoise": 0.5},
            vae="sdxl-vae",
            controls=(ControlUse("openpose", "dw", 0.8),),
            passes=(SamplerPass(), SamplerPass(sampler="euler", steps=10, denoise=0.5)),
        ),
        (1000, 2432),
    )
    job = loaded(file)
    text = file.render("From a test.")
    assert (job.width, job.height) == (496, 1216)
    assert (job.sampler, job.schedule, job.vae) == ("dpmpp_sde", "karras", "sdxl-vae")
    for remark in (
        "width: 500 is no multiple of 8",
        "size: made at 500x1216, and the image has 1000x2432",
        "pass 2: sampler euler, steps 10, denoise 0.5",
        "control: openpose with weight 0.8",
    ):
        assert f"#   {remark}" in text
    assert not any(remark.startswith("input") for remark in file.remarks)


def test_an_unknown_img2img_source_becomes_a_remark() -> None:
    assert made(ImageMetadata(prompt="x", denoise=0.6)).remarks == [
        "input: made from another image, with denoise 0.6, and does not say which"
    ]
    assert made(ImageMetadata(prompt="x", denoise=1.0)).remarks == []


@pytest.mark.parametrize(
    ("given", "remark"),
    [
        ({"steps": 9000}, "steps: 9000: Input should be less than or equal to 500"),
        ({"cfg": -3.0}, "cfg: -3.0: "),
        ({"seed": "-1"}, "seed: -1: "),
        ({"seed": "abc"}, "seed: abc: "),
        ({"clip_skip": 20, "generator": "forge"}, "clip_skip: 20: "),
        ({"gen_width": 8, "gen_height": 64}, "width: 8: "),
        ({"sampler": "quantum leap"}, "sampler: quantum leap: there is no sampler"),
        ({"sampler": "Restart", "schedule": "beta"}, "sampler: Restart with beta: sampler restart has no schedule"),
        ({"sampler": None, "schedule": "karras"}, "schedule: karras, of a sampler that is not stated"),
        ({"loras": (MetadataLora("good", 1.0), MetadataLora("bad", 99.0))}, 'loras: {"name": "bad"'),
        ({"model_name": "m" * 500}, "model: mmm"),
        ({"prompt": "x" * 30_000}, "prompt: cut after 5000 of 30000 characters"),
        ({"prompt": "\n" * 19_000}, "prompt: cut after 5000 of 19000 characters"),
        ({"prompt": None}, "prompt: the image states none"),
        ({"prompt": "a <hypernet:x:1> b"}, "prompt: it names a hypernetwork"),
    ],
)
def test_any_metadata_becomes_a_job_valid_by_the_schema(given: dict[str, Any], remark: str) -> None:
    file = made(ImageMetadata(**{**A1111, **given}), (832, 1216))
    loaded(file)
    assert any(one.startswith(remark) for one in file.remarks), file.remarks


@pytest.mark.parametrize(
    "prompt",
    [
        "\x7f\x85\u2028\ufeff\uffff",
        "\ud800 alone",
        "- a: [b",
        "\x00\x01",
        "<lo<lora:x:1>ra:y:1>",
        "<lora:never closed",
        "🦊",
    ],
)
def test_special_characters_stay_valid_yaml(prompt: str) -> None:
    file = made(ImageMetadata(prompt=prompt, seed="1", model_name=prompt))
    assert "<lora" not in loaded(file).prompt
    parse_yaml(file.render(f"From {prompt}\nand: more").encode())


def test_an_invalid_lora_does_not_drop_the_others() -> None:
    job = loaded(made(ImageMetadata(prompt="x", loras=(MetadataLora("bad", 99.0), MetadataLora("good", 0.5)))))
    assert [use.name for use in job.loras] == ["good"]
    assert loaded(made(ImageMetadata(prompt="x", loras=(MetadataLora("bad", 99.0),)))).loras == []


def test_missing_models_are_named_with_a_comment() -> None:
    metadata = ImageMetadata(**A1111, vae="sdxl-vae", embeddings=(EmbeddingUse("lowres"),))
    file = job_from_metadata(metadata, (832, 1216), None, missing)
    assert (loaded(file).model, loaded(file).vae) == ("ponyXL", None)
    assert file.remarks == [
        "model: there is no checkpoint 'ponyXL'",
        "vae: there is no vae 'sdxl-vae'",
        "loras: film grain: there is no lora 'film grain'",
        "loras: detail: there is no lora 'detail'",
        "embeddings: lowres: there is no embedding 'lowres'",
    ]


# A value of every field that decides pixels, and what must stand in the job or its remarks for it.
STATED: dict[str, tuple[Any, str]] = {
    "prompt": ("a heron", "a heron"),
    "negative_prompt": ("fog", "fog"),
    "raw_prompt": ("a {heron|crane}", "a {heron|crane}"),
    "seed": ("4242", "4242"),
    "steps": (37, "37"),
    "cfg": (4.25, "4.25"),
    "sampler": ("Heun", "heun"),
    "schedule": ("Polyexponential", "Polyexponential"),
    "denoise": (0.37, "0.37"),
    "clip_skip": (3, "3"),
    "model_name": ("heronXL", "heronXL"),
    "model_hash": ("beef00beef", "beef00beef"),
    "vae_hash": ("facade0123", "facade0123"),
    "vae": ("heronvae", "heronvae"),
    "variation_seed": ("777", "777"),
    "variation_strength": (0.21, "0.21"),
    "guidance": (3.25, "3.25"),
    "refiner": ("heronrefiner", "heronrefiner"),
    "hires_scale": (1.75, "1.75"),
    "hires_steps": (11, "11"),
    "hires_upscaler": ("Lanczos9", "Lanczos9"),
    "hires_denoise": (0.43, "0.43"),
    "upscaler": ("4x-heron", "4x-heron"),
    "gen_width": (648, "648"),
    "gen_height": (648, "648"),
    "input_hash": ("cd" * 32, "cdcdcdcdcdcd"),
    "loras": ((MetadataLora("plumage", 0.33, 0.22, "abad1dea"),), "plumage 0.33 0.22 abad1dea"),
    "controls": ((ControlUse("reeds", "canny", 0.81, 0.12, 0.94),), "reeds canny 0.81 0.12 0.94"),
    "passes": (
        (SamplerPass(start_step=0, end_step=9), SamplerPass("31", 13, 2.5, "lms", "beta", 0.17, "second", 9, 22)),
        "0 to 9,31,13,2.5,lms,beta,0.17,second,9 to 22".replace(",", " "),
    ),
    "embeddings": ((EmbeddingUse("lowres", "cafe0123"),), "cafe0123"),
    "characters": ((CharacterPrompt("a frog", "a toad", 0.15, 0.85),), "a frog,a toad,0.15,0.85".replace(",", " ")),
    "detailers": ((DetailerUse("beak.pt", "a beak", "no beak", 0.47),), "beak.pt beak 0.47"),
    "extras": ((("Token merging ratio", "0.55"),), "Token merging ratio 0.55"),
}


@pytest.mark.parametrize("name", [one.name for one in fields(ImageMetadata) if one.name not in NOT_SETTINGS])
def test_every_field_becomes_a_key_or_a_remark(name: str) -> None:
    value, told = STATED[name]
    base: dict[str, Any] = {"prompt": "x", "variation_strength": 0.1} | (
        {"gen_height": 648} if name == "gen_width" else {}
    )
    base |= (
        {"gen_width": 648} if name == "gen_height" else {"variation_seed": "1"} if name == "variation_strength" else {}
    )
    file = made(ImageMetadata(**base | {name: value}))
    text = file.render("From a test.")
    assert all(word in text for word in told.split()), text


def test_what_decides_no_pixel_is_no_remark() -> None:
    stated: dict[str, Any] = {
        "generator": "comfyui",
        "generator_version": "1",
        "source": "png:prompt",
        "is_ai": "metadata",
        "problem": "odd",
    }
    assert made(ImageMetadata(prompt="x", job="3/1", created_at=5.0, parser_version=9, **stated)).remarks == []


def test_an_image_without_metadata_gives_no_job() -> None:
    with pytest.raises(IndexdError, match="does not say"):
        made(ImageMetadata(generator="midjourney"))
