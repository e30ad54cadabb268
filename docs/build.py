"""Writes the reference pages that follow from the code: `python docs/build.py [--check]`.

settings.md from the settings' schema, cli.md from the commands' help, job-fields.md from the job files' schema,
samplers.md from the table of samplers, features.md from features.py (its sheets are made by sheets.py). With --check nothing is written; exit code 1 when a page is out of date.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import click
from features import FEATURES
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from indexd.cli.app import app
from indexd.jobs.export.job_file import json_in_yaml
from indexd_schemas.jobs.job import JOB_KINDS
from indexd_schemas.samplers import SAMPLERS, SCHEDULES, SamplerInfo
from indexd_schemas.settings import Settings

HERE = Path(__file__).parent
NOTE = "<!-- Made by docs/build.py (`make schemas`); change the code it is made from instead. -->\n"


def settings_page() -> str:
    """Every option of the settings file."""
    lines = [
        "# Settings",
        NOTE,
        "`indexd init` writes a commented file, `indexd config sample` prints it, `indexd config validate` checks yours.",
        "Order of precedence: command-line flag, environment (`INDEXD_WATCH__SETTLE_SECONDS=1`), file, default.",
        "In paths `~` is understood, and a relative one means the folder of the settings file.",
    ]
    for name, model, description in _sections(Settings, ""):
        lines += [
            "",
            f"## {name}",
            description,
            "",
            "| option | default | what it does | example |",
            "|---|---|---|---|",
        ]
        for option, field in model.model_fields.items():
            if _nested(field.annotation) is None:
                default = "required" if field.is_required() else f"`{_toml(field.default)}`"
                example = f"`{_toml(field.examples[0])}`" if field.examples else ""
                lines.append(f"| `{option}` | {default} | {_cell(field.description)} | {example} |")
    return "\n".join(lines) + "\n"


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel], str]]:
    for name, field in model.model_fields.items():
        inner = _nested(field.annotation)
        if inner is None:
            continue
        full = f"{prefix}{name}"
        shown = f"[[{full}]]" if field.default == () else f"[{full}]"
        if any(_nested(below.annotation) is None for below in inner.model_fields.values()):
            yield shown, inner, (field.description or "").strip()
        yield from _sections(inner, f"{full}.")


def _nested(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return "unset" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def cli_page() -> str:
    """The help of every command."""
    lines = ["# Commands", NOTE]
    for name, command in _commands(app, "indexd"):
        context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
        lines += [f"## {name}", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _commands(found, f"{name} {child}")


def job_page() -> str:
    """Every field of a job file, by kind."""
    lines = [
        "# Fields of a job file",
        NOTE,
        "An unknown field is an error with a suggestion. [jobs.md](jobs.md) tells how jobs live.",
    ]
    for model in JOB_KINDS.values():
        kind = model.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]
        lines += [
            "",
            f"## kind: {kind}",
            textwrap.dedent(model.__doc__ or "").strip(),
            "",
            "| field | default | what it does | example |",
            "|---|---|---|---|",
        ]
        lines += _field_rows(model, "")
    return "\n".join(lines) + "\n"


def _field_rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{_toml(_default(field))}`"
        example = f"`{field.examples[0]}`" if field.examples else ""
        shown = f"{prefix}{field.alias or name}"
        yield f"| `{shown}` | {_cell(default)} | {_cell(field.description)} | {_cell(example)} |"
        inner = _nested(field.annotation)
        if inner is not None:
            yield from _field_rows(inner, f"{shown}[]." if get_origin(field.annotation) is list else f"{shown}.")


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True, validated_data={})
    return value.model_dump(exclude_defaults=True) if isinstance(value, BaseModel) else value


def samplers_page() -> str:
    """Every sampler with its names, what runs it and its schedules."""
    lines = [
        "# Samplers and schedules",
        NOTE,
        "Names of A1111 (Forge's included) and of ComfyUI are both understood, and so are glued ones (`DPM++ 2M Karras`). An",
        "impossible pair is refused with the possible ones. A scheduler of diffusers runs the schedules in the fifth column",
        "(its flags stand in `indexd/generate/sampling/diffusers_schedulers.py`), a sampler of ours the others (`indexd/generate/sampling/`). The two",
        "agree to rounding where they do the same; one that draws noise draws it in another order, so that its picture is another.",
        "",
        "| A1111 | ComfyUI | also | schedules | run by diffusers | its own | automatic |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_sampler_row(one) for one in SAMPLERS.values()]
    lines += ["", *COMPARED]
    lines += ["", "\\* every schedule of the table below.", "", "| schedule | A1111 | also |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.label} | {', '.join(one.aliases)} |" for one in SCHEDULES.values()]
    return "\n".join(lines) + "\n"


COMPARED = (
    "Ours were run beside the schedulers of diffusers, over the same levels and the same noise (`tests/generate/test_own_samplers.py`).",
    "Equal to rounding: Euler, Euler a, Heun, LMS, DPM2, DPM2 a, DPM++ 2M, DPM++ 2M SDE and its Heun form, UniPC, UniPC bh2, DEIS, DDIM, DDPM,",
    "LCM. SA Solver: apart by the term of third order that diffusers adds to the paper's second. DPM++ 3M SDE: diffusers' has a wrong sign",
    "(pictures come out with a spread of .556 that should have .500). Not compared: DPM++ SDE, whose scheduler needs a library that nobody",
    "keeps up; IPNDM, whose scheduler has noise levels of its own; PLMS, which has no sampler of ours. All of ours are held against an",
    "equation whose solution is known: the order of their error, or the distribution that their noise has to reach.",
)


def _sampler_row(one: SamplerInfo) -> str:
    every = "every one*" if set(one.schedules) == set(SCHEDULES) else ", ".join(one.schedules) or "makes its own levels"
    by_diffusers = (
        "none" if one.diffusers_schedules is None else ", ".join(one.diffusers_schedules) or "without a schedule"
    )
    names = ", ".join(f"`{alias}`" for alias in one.aliases)
    return f"| {one.label} | `{one.name}` | {names} | {every} | {by_diffusers} | {one.default_schedule or ''} | {one.automatic_schedule or ''} |"


def features_page() -> str:
    """One sheet of pictures for each thing that a job file can ask for."""
    lines = [
        "# What a job can ask for, in pictures",
        NOTE,
        "Made by the [toy world](toyworld.md)'s small models, so the drawing is a child's; what each key does is the same with any",
        "SDXL checkpoint. Every place of a sheet is a job file that went through the daemon: the one shown, with the keys that stand",
        "under the picture. `make sheets` makes them anew.",
    ]
    for one in FEATURES:
        job = [f"{key}: {json_in_yaml('first.png' if value == '{made}' else value)}" for key, value in one.job.items()]
        lines += [
            "",
            f"## {one.title}",
            one.text,
            "",
            f"![{one.title}](sheets/{one.name}.webp)",
            "",
            "```yaml",
            *job,
            "```",
        ]
    return "\n".join(lines) + "\n"


PAGES = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "job-fields.md": job_page,
    "samplers.md": samplers_page,
    "features.md": features_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are out of date."""
    check = arguments == ["--check"]
    stale = 0
    for name, page in PAGES.items():
        path = HERE / name
        text = page()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        if check:
            sys.stdout.write(f"docs/{name} is out of date; run make schemas\n")
        else:
            path.write_text(text, "utf-8", newline="\n")
            sys.stdout.write(f"docs/{name} written\n")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
