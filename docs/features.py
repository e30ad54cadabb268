"""Contents of docs/features.md: one `Feature` for each feature of job files.

A cell is a job: the keys that it adds to the job of its feature. Adding a feature: one entry in FEATURES, then
`python docs/sheets.py NAME`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from indexd_schemas.jobs.stages import HIRES_UPSCALERS
from indexd_schemas.samplers import SAMPLERS, SCHEDULES
from indexd_toyworld.world import DrawnShape, Scene, named_face

Keys = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a contact sheet, with its label.

    `keys` override the feature's job, and None removes a key. Each image of the job gets its own cell;
    the label may contain {seed}, {kept} and scores. `{made}` in a value is the image of the feature's first cell.
    `shows` names a drawing to show unchanged, or its control map `map` (DRAWING-MAP.png for jobs).
    """

    label: str
    keys: Keys = field(default_factory=dict)
    shows: str | None = None
    map: str | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """One contact sheet: its job and its cells, in `across` columns of `cell_px` pixels."""

    name: str
    title: str
    text: str
    job: Keys
    cells: tuple[Cell, ...]
    across: int = 6
    cell_px: int = 112


def _pair(seed: int) -> Scene:
    return Scene("pink", faces=(named_face("hugo", "sad", "left"), named_face("cleo", "sad", "right")), seed=seed)


def _thing(shape: str, colour: str, ground: str, seed: int) -> Scene:
    return Scene(ground, things=(DrawnShape(shape, colour, "big", "middle"),), seed=seed)


DRAWINGS: dict[str, tuple[tuple[Scene, ...], int]] = {
    "star": ((_thing("star", "red", "cyan", 5),), 64),
    "striped": ((_thing("star", "orange", "striped", 11),), 64),
    "ada": ((Scene("gray", faces=(named_face("ada", "happy"),), seed=7),), 64),
    "pair": ((_pair(3),), 64),
    "four": (
        tuple(
            _thing(shape, colour, "pink", number)
            for number, (shape, colour) in enumerate(
                (("star", "red"), ("heart", "green"), ("ring", "purple"), ("moon", "blue"))
            )
        ),
        56,
    ),
}
"""Input images of jobs, drawn by the toy world: one scene, or four in a square, and the side of a scene in pixels."""

STAR: Keys = {"kind": "txt2img", "prompt": "a big red star on a cyan background", "seed": 4, "cfg": 4, "steps": 20}
ADA: Keys = {"kind": "txt2img", "prompt": "a portrait of ada on a gray background", "seed": 2, "cfg": 4, "steps": 20}
KIRA: Keys = {"kind": "txt2img", "prompt": "a portrait of kira on a pink background", "seed": 3, "cfg": 4, "steps": 20}


def _given(name: str) -> Cell:
    return Cell("the input", shows=name)


def _input(name: str) -> Keys:
    return {"input": f"{name}.png"}


def _canny(**more: Any) -> Keys:
    return {"control": [{"type": "canny", "image": "striped.png", **more}]}


def _reference(name: str, weight: float) -> Keys:
    return {"image": f"{name}.png", "weight": weight}


def _by(name: str, weight: float) -> Keys:
    return {"reference": [_reference(name, weight)]}


def _sampled(name: str) -> Keys:
    """Keys of a sampler with its usual cfg: about 1 for CFG++ and LCM samplers, the normal one for A1111's DDIM CFG++."""
    if name == "ddim_cfg_pp":
        return {"sampler": name, "cfg": 7}
    if name.endswith("_cfg_pp") or name == "lcm":
        return {"sampler": name, "cfg": 1.2}
    return {"sampler": name} | ({"steps": 40} if name in _FAR_SIGHTED else {})


_FAR_SIGHTED = ("lms", "ipndm", "ipndm_v", "plms", "res_multistep_ancestral")
"""Linear multistep samplers extrapolate from earlier steps; 20 steps are too coarse for this small model."""


FEATURES: tuple[Feature, ...] = (
    Feature(
        "samplers",
        "Samplers",
        "Every sampler with one seed and the schedule that A1111 calls Automatic. CFG++ and LCM samplers use a cfg of 1.2. Linear "
        "multistep samplers (LMS, IPNDM, PLMS, Res Multistep a) use 40 steps instead of 20.",
        ADA | {"size": "64x64", "schedule": "automatic"},
        tuple(Cell(one.label, _sampled(name)) for name, one in SAMPLERS.items()),
        across=8,
        cell_px=88,
    ),
    Feature(
        "schedules",
        "Schedules",
        "One sampler with every spacing of the noise levels, in 20 steps.",
        ADA | {"size": "64x64", "sampler": "Euler"},
        tuple(Cell(one.label, {"schedule": name}) for name, one in SCHEDULES.items()),
        across=8,
        cell_px=88,
    ),
    Feature(
        "guidance",
        "Guidance",
        "`cfg`, `cfg_rescale`, `steps` and `clip_skip`.",
        STAR | {"size": "64x64"},
        (
            *(Cell(f"cfg {cfg}", {"cfg": cfg}) for cfg in (1, 2, 4, 8, 16)),
            Cell("cfg 16, rescale 0.7", {"cfg": 16, "cfg_rescale": 0.7}),
            *(Cell(f"{steps} steps", {"steps": steps}) for steps in (2, 5, 10, 40)),
            Cell("clip_skip 2 (SDXL's own)", {"clip_skip": 2}),
            Cell("negative: red", {"negative_prompt": "red"}),
        ),
    ),
    Feature(
        "seeds",
        "Seeds and variations",
        "`seeds: 1..6`, and one image whose noise is rotated towards that of a second seed.",
        {"kind": "txt2img", "prompt": "a purple ring on a striped background", "cfg": 4, "steps": 20, "size": "64x64"},
        (
            Cell("seed {seed}", {"seeds": "1..6"}),
            *(
                Cell(f"seed 1, variation {strength:g}", {"seed": 1, "variation": {"seed": 99, "strength": strength}})
                for strength in (0, 0.1, 0.3, 0.5, 0.7, 1)
            ),
        ),
    ),
    Feature(
        "prompts",
        "Prompts",
        "A1111's syntax: weights, switching texts, alternating texts, and texts combined with AND.",
        {"kind": "txt2img", "seed": 4, "cfg": 4, "steps": 20, "size": "64x64"},
        tuple(
            Cell(prompt, {"prompt": prompt})
            for prompt in (
                "a big red star on cyan",
                "a big (red:0.3) star on cyan",
                "a big (red:1.5) star on cyan",
                "[a red star:a green heart:0.2] on cyan",
                "[a red star:a green heart:0.6] on cyan",
                "[a red star|a green heart] on cyan",
                "a red star on cyan AND a green star on cyan",
                "a red star on cyan AND a green star on cyan :0.3",
                "a big [red] star on cyan",
                "ada on pink",
                "[ada:juri:0.3] on pink",
                "[ada|juri] on pink",
            )
        ),
    ),
    Feature(
        "loras",
        "LoRAs",
        "The toy LoRA adds kira, a character unknown to the model: by weight, by block, from both file formats, and in the prompt.",
        KIRA | {"size": "64x64"},
        (
            Cell("without"),
            *(Cell(f"weight {each:g}", {"loras": [{"name": "kira", "weight": each}]}) for each in (0, 0.5, 1, 1.5)),
            Cell("kohya's file, weight 1", {"loras": ["kira-kohya"]}),
            Cell("the way up alone", {"loras": [{"name": "kira", "blocks": {"in": 0, "mid": 0}}]}),
            Cell("the way down alone", {"loras": [{"name": "kira", "blocks": {"out": 0, "mid": 0}}]}),
            Cell("<lora:kira:1> in the prompt", {"prompt": "a portrait of kira on a pink background <lora:kira:1>"}),
            Cell("another with it: ada", {"prompt": "a portrait of ada on pink", "loras": ["kira"]}),
            Cell("and without", {"prompt": "a portrait of ada on pink"}),
            Cell("after all of it: without", {}),
        ),
    ),
    Feature(
        "img2img",
        "img2img",
        "`denoise` sets how much an image changes.",
        {"kind": "img2img", "prompt": "a green heart on a cyan background", "seed": 4, "cfg": 2, "steps": 20}
        | _input("star"),
        (_given("star"), *(Cell(f"denoise {share:g}", {"denoise": share}) for share in (0.1, 0.3, 0.5, 0.7, 1))),
    ),
    Feature(
        "inpaint",
        "Inpaint",
        "Pixels outside the mask do not change. The mask is a file, a box, or a detected region.",
        {"kind": "inpaint", "prompt": "a portrait of juri on a gray background", "seed": 4, "cfg": 4, "steps": 20}
        | _input("ada"),
        (
            _given("ada"),
            Cell("the right half", {"mask": {"box": [0.5, 0, 0.5, 1], "padding": 0}, "denoise": 1}),
            Cell("the same, inverted", {"mask": {"box": [0.5, 0, 0.5, 1], "padding": 0, "invert": True}, "denoise": 1}),
            Cell("the found face", {"mask": {"region": "face", "padding": 0.3}, "denoise": 0.9}),
            Cell("… from noise", {"mask": {"region": "face"}, "masked_content": "noise", "denoise": 1}),
            Cell("… from a fill", {"mask": {"region": "face"}, "masked_content": "fill", "denoise": 0.9}),
            Cell(
                "only_masked: the face at 64x64",
                {"mask": {"region": "face", "padding": 0.25}, "only_masked": True, "only_masked_padding": 4}
                | {"size": "64x64", "denoise": 0.9},
            ),
        ),
        across=7,
        cell_px=96,
    ),
    Feature(
        "control",
        "Control",
        "A ControlNet keeps the edges of an image, with a strength and a range of steps. `indexd control` makes maps of every kind.",
        {"kind": "txt2img", "prompt": "a big orange star on a striped background", "seed": 4, "cfg": 4, "steps": 20}
        | {"size": "64x64"},
        (
            _given("striped"),
            Cell("indexd control … canny", shows="striped", map="canny"),
            Cell("without control"),
            *(Cell(f"strength {each:g}", _canny(strength=each)) for each in (0, 0.5, 1, 1.5)),
            Cell("up to half of the steps", _canny(end=0.5)),
            Cell("from half of them on", _canny(start=0.5)),
            Cell("preprocess: false", _canny(image="striped-canny.png", preprocess=False)),
            *(Cell(f"indexd control … {kind}", shows="ada", map=kind) for kind in ("lineart", "softedge", "scribble")),
        ),
        across=7,
        cell_px=96,
    ),
    Feature(
        "references",
        "References",
        "An IP-Adapter uses images as prompts: they supply what the text leaves out.",
        {"kind": "txt2img", "prompt": "", "seed": 4, "cfg": 4, "steps": 20, "size": "64x64"},
        (
            _given("ada"),
            _given("star"),
            Cell("no words, no reference"),
            *(Cell(f"ada, weight {each:g}", _by("ada", each)) for each in (0.3, 0.6, 1)),
            Cell("star, weight 1", _by("star", 1)),
            Cell("prompt alone: …on a navy background", {"prompt": "a portrait of hugo on a navy background"}),
            Cell("the same, star at 0.5", {"prompt": "a portrait of hugo on a navy background"} | _by("star", 0.5)),
            Cell("ada 0.5 and star 0.5", {"reference": [_reference("ada", 0.5), _reference("star", 0.5)]}),
        ),
        across=5,
        cell_px=96,
    ),
    Feature(
        "hires",
        "Hires",
        "A second pass at a larger size, from 64 to 96 pixels: enlarges latents or pixels, or uses a model.",
        {"kind": "txt2img", "prompt": "a yellow moon on a navy background", "seed": 4, "cfg": 4, "steps": 20}
        | {"size": "64x64"},
        (
            Cell("without"),
            *(
                Cell(f"denoise {share:g}", {"hires": {"scale": 1.5, "upscaler": "latent", "denoise": share}})
                for share in (0.3, 0.5, 0.7)
            ),
            *(
                Cell(name, {"hires": {"scale": 1.5, "upscaler": name, "denoise": 0.5}})
                for name in HIRES_UPSCALERS
                if name != "latent"
            ),
            Cell("the model x2", {"hires": {"scale": 1.5, "upscaler": "x2", "denoise": 0.3}}),
        ),
        across=8,
        cell_px=96,
    ),
    Feature(
        "detail",
        "Detail",
        "A detector finds the faces of an image. Each is cropped, rendered again at a larger size, and blended back.",
        {"kind": "upscale", "prompt": "", "seed": 4, "cfg": 4, "steps": 20, "upscale": {"model": "x2", "scale": 1}}
        | _input("pair"),
        (
            _given("pair"),
            Cell(
                "happy hugo, denoise 0.5",
                {
                    "detail": [
                        {"detector": "faces", "max": 1, "size": 64, "denoise": 0.5, "prompt": "happy hugo on pink"}
                    ]
                },
            ),
            Cell(
                "denoise 0.8",
                {
                    "detail": [
                        {"detector": "faces", "max": 1, "size": 64, "denoise": 0.8, "prompt": "happy hugo on pink"}
                    ]
                },
            ),
            Cell(
                "both faces become juri",
                {"detail": [{"detector": "faces", "size": 64, "denoise": 0.8, "prompt": "happy juri on pink"}]},
            ),
            Cell("nothing to find in the star", {"detail": ["faces"]} | _input("star")),
        ),
        across=5,
        cell_px=144,
    ),
    Feature(
        "upscale",
        "Upscale and resize",
        "The toy upscaler (x2; any architecture of spandrel works), Lanczos for comparison, and exact sizes.",
        {"kind": "upscale", "upscale": "x2"} | _input("ada"),
        (
            _given("ada"),
            Cell("upscale: x2"),
            Cell("tiles of 64, overlap 16", {"upscale": {"model": "x2", "tile": 64, "overlap": 16}} | _input("four")),
            Cell("scale: 1.5", {"upscale": {"model": "x2", "scale": 1.5}}),
            Cell("resize: {size: 160x80}", {"resize": {"size": "160x80"}}),
        ),
        across=5,
        cell_px=144,
    ),
    Feature(
        "refine",
        "Refine",
        "img2img over a larger image in overlapping tiles that are blended at every step; one prompt, or one for each tile.",
        {"kind": "refine", "prompt": "on a pink background", "seed": 4, "cfg": 1, "steps": 20} | _input("four"),
        (
            _given("four"),
            *(
                Cell(f"denoise {share:g}", {"refine": {"denoise": share, "tile": 64, "overlap": 16}})
                for share in (0, 0.1, 0.3)
            ),
            Cell(
                "denoise 0.5, cfg 3, four prompts",
                {
                    "cfg": 3,
                    "refine": {
                        "denoise": 0.5,
                        "tile": 64,
                        "overlap": 16,
                        "prompts": [
                            f"a {words} on a pink background"
                            for words in ("red star", "green heart", "purple ring", "blue moon")
                        ],
                    },
                },
            ),
        ),
        across=5,
        cell_px=144,
    ),
    Feature(
        "score",
        "Score and keep",
        "Twelve seeds of one prompt. The best third stays (rounded up), and the rest moves to `rejected/`.",
        {"kind": "txt2img", "prompt": "a small white heart at the top on a dotted background", "cfg": 4, "steps": 12}
        | {"size": "64x64", "score": ["clip", "sharpness"]},
        (Cell("clip {clip:.3f} {kept}", {"seeds": "1..12", "keep": {"top": "34%"}}),),
    ),
    Feature(
        "regenerate",
        "Regenerate",
        "An image rendered again from its own recipe, with changes.",
        {"kind": "regenerate", "input": "{made}"},
        (
            Cell("a picture", ADA | {"size": "64x64", "input": None}),
            Cell("again"),
            Cell("seed: 9", {"seed": 9}),
            Cell("sampler: Euler a", {"sampler": "Euler a"}),
            Cell("size: 96x64", {"size": "96x64"}),
            Cell("another prompt", {"prompt": "juri on navy"}),
        ),
    ),
)
