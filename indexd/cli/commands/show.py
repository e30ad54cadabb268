"""`indexd show`: shows everything about an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexd.cli.support.annotation_commands import target_texts
from indexd.cli.support.generation_lines import generation_lines
from indexd.cli.support.printing import format_bytes, format_time, json_option, one_line, print_json, print_text
from indexd.cli.support.request_validation import validated
from indexd.cli.support.session import open_operations

if TYPE_CHECKING:
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
            print_text(f"{name:>16}  {value}")
    for note in shown.notes:
        print_text(f"{'note on search':>16}  {note}")
    for name, text in generation_lines(shown.generation, image.prompt):
        print_text(f"{name:>16}  {one_line(text)}")
    for file in shown.files:
        gone = f"  missing since {format_time(file.missing_since)}" if file.missing_since else ""
        print_text(f"{'file':>16}  {file.path}  {format_bytes(file.size)}{gone}")
    for region in shown.regions:
        place = f"{region.left:.0%} from the left, {region.top:.0%} from the top"
        sure = f"{region.size_px} px, sure {region.confidence:.2f}, quality {region.quality:.2f}"
        whose = region.character_name or (f"character {region.character}" if region.character else "")
        print_text(f"{region.kind[:16]:>16}  #{region.id}  {place}, {sure}{', ' + whose if whose else ''}")
    for one in shown.attributes:
        score = f"  ({one.score:.2f})" if one.score is not None else ""
        print_text(f"{one.key[:16]:>16}  {one_line(one.value)}{score}")
    for work in shown.index_tasks:
        waits = f"  {work.waits_for or work.error or ''}".rstrip()
        print_text(f"{'pending':>16}  {work.stage} {work.state}{waits}")
    for key, text in shown.extras.items():
        print_text(f"{key[:16]:>16}  {one_line(text)}")
    if raw:
        for key, text in shown.raw.items():
            print_text(f"\n[{key}]\n{text}")


def _creation_text(shown: ShownImage) -> str | None:
    image = shown.image
    if image.created_at is None:
        return None
    origin = f"stated in the file: {image.created_from}" if image.created_from else "time of the file"
    return f"{format_time(image.created_at)} ({origin})"
