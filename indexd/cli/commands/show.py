"""`indexd show`: shows everything about an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, get_args

import click

from indexd.cli.support.annotation_commands import target_texts
from indexd.cli.support.printing import (
    format_bytes,
    format_time,
    json_option,
    one_line,
    print_block,
    print_field,
    print_json,
    sanitize_line,
)
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations

if TYPE_CHECKING:
    from indexd.image_metadata.model import ControlUse, DetailerUse, GenerationDetails, ResourceUse, SamplerPass
    from indexd_schemas.api.output import ShownImage


@click.command(short_help="Show everything about an image.")
@click.argument("image", metavar="FILE|ID|HASH")
@click.option("--raw", is_flag=True, help="Also print the raw metadata.")
@json_option
def show(image: str, raw: bool, as_json: bool) -> None:
    """Show everything about an image, named by file, id or content hash."""
    from indexd.api.operations import images
    from indexd_schemas.api.requests import ImageSelector

    with open_operations() as operations:
        shown = operations.call(images.show, validated(ImageSelector, target=target_texts([image])[0]))
    if as_json:
        print_json(shown)
    else:
        _print(shown, raw)


def _generator_text(generator: str | None, version: str | None) -> str:
    """The program with its version; the version of some programs begins with the name."""
    if generator and version and version.startswith(f"{generator} "):
        return version
    return " ".join(filter(None, (generator, version)))


def _print(shown: ShownImage, raw: bool) -> None:
    from indexd_schemas.settings import SuggestionSource

    image = shown.image
    rows = [
        ("id", f"#{image.id}"),
        ("hash", image.hash),
        ("image", f"{image.format} {image.width}x{image.height}"),
        ("generator", _generator_text(image.generator, image.generator_version)),
        ("model", " ".join(filter(None, (image.model, f"({image.model_hash})" if image.model_hash else None)))),
        (
            "loras",
            ", ".join(f"{lora.name}{f' {lora.weight:g}' if lora.weight is not None else ''}" for lora in image.loras),
        ),
        ("prompt", image.prompt),
        ("negative prompt", image.negative_prompt),
        ("seed", image.seed),
        ("steps", image.steps),
        ("cfg", image.cfg),
        ("sampler", " ".join(filter(None, (image.sampler, image.schedule)))),
        ("denoise", image.denoise),
        ("job", image.job),
        ("made by a model", image.is_ai),
        ("created", _creation_text(shown)),
        ("indexed", format_time(image.added_at)),
        ("scores", ", ".join(f"{name} {value:.4g}" for name, value in image.scores.items())),
        ("rating", "★" * image.rating if image.rating else None),
        ("tags", ", ".join(image.tags)),
        ("folder tags", ", ".join(image.folder_tags)),
        ("note", image.note),
        ("problem", image.problem),
    ]
    for name, value in rows:
        if value not in (None, ""):
            print_field(name, value)
    for note in shown.notes:
        print_field("note on search", note)
    for name, text in generation_lines(shown.generation, image.prompt):
        print_field(name, one_line(text))
    for file in shown.files:
        gone = f"  missing since {format_time(file.missing_since)}" if file.missing_since else ""
        print_field("file", f"{sanitize_line(file.path)}  {format_bytes(file.size)}{gone}")
    for region in shown.regions:
        place = f"{region.left:.0%} from the left, {region.top:.0%} from the top"
        sure = f"{region.size_px} px, sure {region.confidence:.2f}, quality {region.quality:.2f}"
        whose = region.character_name or (f"character {region.character}" if region.character else "")
        print_field(region.kind, f"#{region.id}  {place}, {sure}{', ' + whose if whose else ''}")
    for one in shown.attributes:
        score = f"  ({one.score:.2f})" if one.score is not None else ""
        origin = f"  (of another program, in the {one.source})" if one.source in get_args(SuggestionSource) else ""
        print_field(one.key, f"{one_line(one.value)}{score}{origin}")
    for work in shown.index_tasks:
        waits = f"  {work.waits_for or work.error or ''}".rstrip()
        print_field("pending", f"{work.stage} {work.state}{waits}")
    for key, text in shown.extras.items():
        print_field(key, one_line(text))
    if raw:
        for key, text in shown.raw.items():
            print_block(f"\n[{key}]\n{text}")


def _creation_text(shown: ShownImage) -> str | None:
    image = shown.image
    if image.created_at is None:
        return None
    if image.created_from:
        origin = f"stated in the file: {image.created_from}"
    elif image.created_at == image.added_at:
        origin = "first seen; the time of the file cannot be right"
    else:
        origin = "time of the file"
    return f"{format_time(image.created_at)} ({origin})"


def generation_lines(making: GenerationDetails, prompt: str | None) -> Iterator[tuple[str, str]]:
    """Name and text of each line. Omits unset fields, and a raw prompt that equals the prompt."""
    size = f"{making.gen_width}x{making.gen_height}" if making.gen_width and making.gen_height else None
    plain = (
        ("read from", making.source),
        ("raw prompt", making.raw_prompt if making.raw_prompt != prompt else None),
        ("made at", size),
        ("clip skip", making.clip_skip),
        ("vae", _joined(making.vae, making.vae_hash and f"({making.vae_hash})")),
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
    yield from (("choice", f"{one.name}={one.value}") for one in making.choices)


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
    return _joined(one.model, one.hash, one.module and f"({one.module})", _labelled("weight", one.weight), share)


def _resource(one: ResourceUse) -> str:
    return _joined(one.address, one.kind, one.name, one.version, _labelled("weight", one.weight))


def _detailer(one: DetailerUse) -> str:
    return _joined(one.model, _labelled("denoise", one.denoise), one.prompt)
