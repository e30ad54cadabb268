"""Texts with a label before each part: "Positive prompt:", "Negative prompt:", "Seed:", a line or a bar ("|") each.

WLSH's ComfyUI saver and several others write them. The prompt is all up to the next label; so is the negative prompt.
"""

from __future__ import annotations

import re

from indexd.image_metadata import coerce, infotext
from indexd.image_metadata.model import ImageMetadata, SamplerPass
from indexd.image_metadata.registry import MetadataTexts, register_reader

CHUNKS = ("png:parameters", "exif:UserComment", "jpeg:comment", "png:comment", "png:Comment", "exif:ImageDescription")
TEXT_MAX = 200_000

_LABELS = {
    "positive prompt": "prompt",
    "positive": "prompt",
    "prompt": "prompt",
    "negative prompt": "negative",
    "negative": "negative",
    "model": "model",
    "checkpoint": "model",
    "model hash": "model_hash",
    "seed": "seed",
    "steps": "steps",
    "cfg scale": "cfg",
    "cfg": "cfg",
    "guidance scale": "cfg",
    "sampler": "sampler",
    "sampler name": "sampler",
    "scheduler": "schedule",
    "schedule type": "schedule",
    "denoising strength": "denoise",
    "denoise": "denoise",
    "size": "size",
    "clip skip": "clip_skip",
    "vae": "vae",
    "start at step": "start_step",
    "end at step": "end_step",
}
_LABEL = re.compile(
    rf"(?:^|\n|\s\|\s)[ \t]*({'|'.join(sorted(map(re.escape, _LABELS), key=len, reverse=True))})[ \t]*:[ \t]*",
    re.IGNORECASE,
)
_SETTINGS = frozenset(("seed", "steps", "cfg", "sampler", "model"))


@register_reader("labelled-text", rank=58)
def read_labelled_text(texts: MetadataTexts) -> ImageMetadata | None:
    """The parts of a text that labels a prompt and at least two of seed, steps, cfg, sampler and model."""
    for key in CHUNKS:
        text = (texts.get(key) or "")[:TEXT_MAX].replace("\r\n", "\n").strip()
        if text and text[:1] not in "{[" and (parts := _split(text)) is not None:
            return _metadata(parts, key)
    return None


def _split(text: str) -> dict[str, str] | None:
    """The parts by field; None where the text is of another kind (an infotext has its settings in one line)."""
    matches = list(_LABEL.finditer(text))
    if not matches:
        return None
    first = matches[0]
    before = text[: first.start()].strip()
    if before and " | " not in text[first.start() : first.end()]:
        return None
    matches = _without_labels_in_prompt(matches)
    parts: dict[str, str] = {"prompt": before} if before else {}
    for at, match in enumerate(matches):
        end = matches[at + 1].start() if at + 1 < len(matches) else len(text)
        value = text[match.end() : end].strip()
        field = _LABELS[match[1].lower()]
        # "Steps: 20, Sampler: Euler, ..." in one line is an infotext.
        if field in _SETTINGS and re.search(r", [A-Z][\w ]{1,30}: ", value):
            return None
        parts.setdefault(field, value)
    return parts if "prompt" in parts and len(_SETTINGS & parts.keys()) >= 2 else None


def _without_labels_in_prompt(matches: list[re.Match[str]]) -> list[re.Match[str]]:
    """Between the label of the prompt and that of the negative prompt, a line such as "model: vogue" is prompt text."""
    negatives = [at for at, match in enumerate(matches) if _LABELS[match[1].lower()] == "negative"]
    if not negatives or _LABELS[matches[0][1].lower()] != "prompt":
        return matches
    return [matches[0], *matches[negatives[0] :]]


def _metadata(parts: dict[str, str], source: str) -> ImageMetadata:
    size = coerce.parse_size(parts.get("size"))
    prompt = coerce.clean_text(parts["prompt"])
    one_pass = SamplerPass(
        coerce.parse_seed(parts.get("seed")),
        coerce.parse_int(parts.get("steps")),
        coerce.parse_float(parts.get("cfg")),
        coerce.nonempty_text(parts.get("sampler")),
        coerce.nonempty_text(parts.get("schedule")),
        coerce.parse_float(parts.get("denoise")),
        coerce.parse_model_name(parts.get("model")),
        coerce.parse_int(parts.get("start_step")),
        coerce.parse_int(parts.get("end_step")),
    )
    return ImageMetadata(
        generator="comfyui",
        source=source,
        is_ai="metadata",
        prompt=prompt,
        negative_prompt=coerce.clean_text(parts.get("negative")),
        seed=one_pass.seed,
        steps=one_pass.steps,
        cfg=one_pass.cfg,
        sampler=one_pass.sampler,
        schedule=one_pass.schedule,
        denoise=one_pass.denoise,
        clip_skip=coerce.parse_int(parts.get("clip_skip")),
        model_name=one_pass.model,
        model_hash=coerce.nonempty_text(parts.get("model_hash")),
        vae=coerce.parse_model_name(parts.get("vae")),
        gen_width=size[0] if size else None,
        gen_height=size[1] if size else None,
        loras=infotext.parse_loras(prompt or "", None),
        passes=(one_pass,),
    )
