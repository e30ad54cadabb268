"""`indexd loras`: the LoRA files with their registry entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from indexd.cli.support.printing import add_row, console, format_bytes, json_option, print_json, print_notice
from indexd.cli.support.session import load_config
from indexd.errors import EXIT_NOTHING_FOUND, EXIT_OK

if TYPE_CHECKING:
    from indexd_schemas.api.responses import ListedLora


@click.command(short_help="List LoRA files and their registry entries.")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@json_option
def loras(words: tuple[str, ...], as_json: bool) -> int:
    """List the LoRA files with type, weights, trigger words and themes from the registry (loras.yaml).

    The last column tells what the file's header states, or why jobs cannot use the file.

    WORD: only LoRAs whose name, type, trigger words or themes contain every word.
    """
    from indexd.jobs.loras.registry import list_loras
    from indexd_schemas.api.responses import LoraList

    found = list_loras(load_config())
    kept = [lora for lora in found.loras if all(word.casefold() in _searchable_text(lora) for word in words)]
    if as_json:
        print_json(LoraList(registry=found.registry, loras=kept))
        return EXIT_OK if kept else EXIT_NOTHING_FOUND
    if not kept:
        print_notice(
            "no LoRA is like that" if found.loras else "there are no LoRAs; name a folder with [generate] lora_folders"
        )
        return EXIT_NOTHING_FOUND
    _print(kept)
    return EXIT_OK


def _print(found: list[ListedLora]) -> None:
    from rich.table import Table

    table = Table("name", "type", "weights", "trigger words", "themes", "file", "contents", box=None, pad_edge=False)
    for lora in found:
        entry = lora.registered
        themes = [] if entry is None else [*entry.themes, *(f"not {theme}" for theme in entry.excludes)]
        row = (
            lora.name,
            (entry and entry.type) or "-",
            "-" if entry is None else _weights(lora),
            ", ".join(entry.triggers) if entry and entry.triggers else "-",
            ", ".join(themes) or "-",
            "no file" if lora.size_bytes is None else format_bytes(lora.size_bytes),
            f"UNUSABLE: {lora.problem}" if lora.problem else lora.description or "-",
        )
        add_row(table, *row)
    console().print(table)


def _weights(lora: ListedLora) -> str:
    entry = lora.registered
    assert entry is not None
    usual = "" if entry.weight is None else f" (usually {entry.weight:g})"
    return f"{entry.min_weight:g}..{entry.max_weight:g}{usual}{'' if entry.stackable else ', alone'}"


def _searchable_text(lora: ListedLora) -> str:
    entry = lora.registered
    words = [lora.name]
    if entry is not None:
        words += [entry.type or "", *entry.triggers, *entry.themes]
    return " ".join(words).casefold()
