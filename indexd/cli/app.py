"""The top-level command group.

It loads a command's module only when the command runs, so `indexd --help` stays fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from indexd.cli.support.printing import print_click_error, print_notice, print_text
from indexd.errors import EXIT_ERROR, EXIT_OK, IndexdError

EXIT_INTERRUPTED = 130

# numpy reads it at its first import. The products here are small, so a second thread costs more than it saves. With
# other work on the machine, two threads reduced writing vectors from 4500 to 1350 images/s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# pydantic would look for plugins in the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# name: (module under indexd.cli.commands and the command in it, help in the list of commands)
COMMANDS: dict[str, tuple[str, str]] = {
    "backup": ("backup:backup", "Write a verified backup of the index."),
    "characters": ("characters:characters", "List, name, merge and split characters."),
    "check": ("check:check", "Check the index for damage."),
    "config": ("config:config", "Show, validate, find or generate the settings."),
    "control": ("control:control", "Make a control map of an image."),
    "demo": ("demo:demo", "Demonstrate indexd in a temporary home."),
    "doctor": ("doctor:doctor", "Diagnose problems and suggest fixes."),
    "duplicates": ("duplicates:duplicates", "Find duplicate images, and suggest which to keep."),
    "explain": ("explain:explain", "Explain why a file is or is not in the index."),
    "export": ("export:export", "Export ratings, tags and notes."),
    "forget": ("forget:forget", "Remove missing files from the index."),
    "import": ("import_:import_", "Import ratings, tags and notes."),
    "init": ("init:init", "Write commented settings and create folders."),
    "jobs": ("jobs:jobs", "List, show, expand, cancel or retry jobs."),
    "loras": ("loras:loras", "List LoRA files and their registry entries."),
    "metrics": ("metrics:metrics", "Print metrics in Prometheus' format."),
    "models": ("models:models", "List, download or test models."),
    "note": ("note:note", "Write, show or remove the note of an image."),
    "query": ("query:query", "Search images by content, text, prompt and metadata."),
    "rate": ("rate:rate", "Rate images from 1 to 5 (0 removes a rating)."),
    "relocate": ("relocate:relocate", "Update the index after a folder tree moved."),
    "replay": ("replay:replay", "Render an image again from its recipe and compare."),
    "reparse": ("reparse:reparse", "Parse stored metadata again with newer readers."),
    "restore": ("restore:restore", "Replace the index by a backup."),
    "run": ("run:run", "Run the daemon in the foreground."),
    "sample": ("sample:sample", "Sample images: diverse, typical, best or random."),
    "scan": ("scan:scan", "Compare the watched folders with the index now."),
    "service": ("service:service", "Install, start, stop or inspect the service."),
    "show": ("show:show", "Show everything about an image."),
    "stats": ("stats:stats", "Count images by model and more; compare five-star images."),
    "status": ("status:status", "Show daemon status."),
    "submit": ("submit:submit", "Submit a job file to the daemon."),
    "tag": ("tag:tag", "Add tags to images, or remove tags."),
}

EPILOG = """\
\b
Exit codes:
  0  ok
  1  error
  2  usage: invalid command or query
  3  nothing found, or an empty list (with --json too)
  4  the command needs the daemon, which is not running
  5  partly failed; stderr lists the failures

\b
Shell completion: add one line to your shell's start file
  bash  eval "$(_INDEXD_COMPLETE=bash_source indexd)"
  zsh   eval "$(_INDEXD_COMPLETE=zsh_source indexd)"
  fish  _INDEXD_COMPLETE=fish_source indexd | source

Results go to stdout, everything else to stderr. Precedence of settings: flag, environment (INDEXD_SECTION__KEY), file, default.
"""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command runs, not when it lists commands."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The sorted names."""
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"indexd.cli.commands.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click, but suggests the nearest name for an unknown command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f"; did you mean {near[0]}?" if near else "; `indexd --help` lists all"
            ctx.fail(f"unknown command {args[0]!r}{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        print_text(f"indexd {version('indexd')}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Keep everything in this folder: settings, index, socket, inbox, output. Also INDEXD_HOME.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def app(home: str | None) -> None:
    """Index the images of your diffusion models, search them, and render new ones from job files."""
    # `--home` is read from the root context by `indexd.cli.support.session`.
    del home


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process). Returns its exit code."""
    try:
        outcome: Any = app.main(
            None if arguments is None else list(arguments), prog_name="indexd", standalone_mode=False
        )
    except click.Abort:
        print_notice("stopped")
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        print_click_error(error)
        return error.exit_code
    except IndexdError as error:
        print_notice(f"indexd: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        print_notice("stopped")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output closed the pipe (`| head`); flushing the buffer must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    return outcome if isinstance(outcome, int) else EXIT_OK
