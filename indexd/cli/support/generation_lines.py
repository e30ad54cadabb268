"""Lines of `indexd show` that describe how an image was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexd.image_metadata.model import ControlUse, DetailerUse, GenerationDetails, ResourceUse, SamplerPass


def generation_lines(making: GenerationDetails, prompt: str | None) -> Iterator[tuple[str, str]]:
    """Name and text of each line. Omits unset fields, and a raw prompt that equals the prompt."""
    size = f"{making.gen_width}x{making.gen_height}" if making.gen_width and making.gen_height else None
    plain = (
        ("read from", making.source),
        ("raw prompt", making.raw_prompt if making.raw_prompt != prompt else None),
        ("made at", size),
        ("clip skip", making.clip_skip),
        ("vae", making.vae),
        ("variation", _joined(making.variation_seed, _labelled("strength", making.variation_strength))),
        ("guidance", making.guidance),
        ("refiner", making.refiner),
        ("hires", _hires(making)),
        ("upscaler", making.upscaler),
    )
    yield from ((name, str(value)) for name, value in plain if value not in (None, ""))
    if len(making.passes) > 1:
        yield from (("pass", _sampler_pass(one)) for one in making.passes)
    yield from (("control", _control(one)) for one in making.controls)
    yield from (("embedding", _joined(one.name, one.hash and f"({one.hash})")) for one in making.embeddings)
    for character in making.characters:
        place = None if character.x is None or character.y is None else f"at {character.x:g}, {character.y:g}:"
        unwanted = f"(without {character.negative_text})" if character.negative_text else None
        yield "character", _joined(place, character.text, unwanted)
    yield from (("resource", _resource(one)) for one in making.resources)
    yield from (("detailer", _detailer(one)) for one in making.detailers)


def _labelled(name: str, value: object) -> str | None:
    if value is None:
        return None
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _joined(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _hires(making: GenerationDetails) -> str:
    scale = None if making.hires_scale is None else f"x{making.hires_scale:g}"
    rest = (_labelled("steps", making.hires_steps), _labelled("denoise", making.hires_denoise))
    return _joined(scale, making.hires_upscaler, *rest)


def _sampler_pass(one: SamplerPass) -> str:
    steps = (
        f"steps {one.start_step or 0}-{one.end_step}"
        if one.end_step is not None and one.start_step is not None
        else None
    )
    return ", ".join(
        part
        for part in (
            _labelled("seed", one.seed),
            _labelled("steps", one.steps),
            steps,
            _labelled("cfg", one.cfg),
            _joined(one.sampler, one.schedule),
            _labelled("denoise", one.denoise),
            one.model,
        )
        if part
    )


def _control(one: ControlUse) -> str:
    share = f"{one.start:g}-{one.end:g}" if one.start is not None and one.end is not None else None
    return _joined(one.model, one.module and f"({one.module})", _labelled("weight", one.weight), share)


def _resource(one: ResourceUse) -> str:
    return _joined(one.address, one.kind, one.name, one.version, _labelled("weight", one.weight))


def _detailer(one: DetailerUse) -> str:
    return _joined(one.model, _labelled("denoise", one.denoise), one.prompt)
