"""The group of commands: a table of names, each loaded when it is called, so that `indexd --help` stays quick."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from indexd.errors import EXIT_ERROR, EXIT_OK, IndexdError

EXIT_INTERRUPTED = 130

# Read once, when numpy is first imported. The products here are small: a second thread costs more than it brings, and
# with other work on the machine writing vectors was seen to fall from 4500 to 1350 pictures/s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# name: (module under indexd.cli and the command in it, what the list of commands says)
COMMANDS: dict[str, tuple[str, str]] = {
    "backup": ("backup:backup", "Write a verified backup of the index."),
    "characters": ("characters:characters", "Who is in the pictures: list, name, merge, split, undo."),
    "check": ("check:check", "Look the index over, and say whether it can be trusted."),
    "config": ("config:config", "Show, validate, find or generate the settings."),
    "control": ("control:control", "Turn a picture into a control map."),
    "demo": ("demo:demo", "Show the whole loop in a throw-away home."),
    "doctor": ("doctor:doctor", "Look for what is wrong, and say the cure."),
    "duplicates": ("duplicates:duplicates", "Find the same picture twice, and say which to keep."),
    "explain": ("explain:explain", "Say why a file is or is not in the index."),
    "export": ("export:export", "Write out ratings, tags and notes."),
    "forget": ("forget:forget", "Take what is missing out of the index."),
    "import": ("import_:import_", "Take in ratings, tags and notes."),
    "init": ("init:init", "Write commented settings and make the folders."),
    "jobs": ("jobs:jobs", "List, show, cancel or retry jobs."),
    "loras": ("loras:loras", "List the LoRAs and what is registered of them."),
    "metrics": ("metrics:metrics", "Print numbers for monitoring (Prometheus)."),
    "models": ("models:models", "List, download or try the models."),
    "note": ("note:note", "Write, show or take away the note of a picture."),
    "query": ("query:query", "Find pictures by look, words, prompt and metadata."),
    "rate": ("rate:rate", "Rate pictures from 1 to 5 (0 takes it away)."),
    "relocate": ("relocate:relocate", "Tell the index that a folder tree lies elsewhere now."),
    "replay": ("replay:replay", "Make a picture again from its own recipe and compare."),
    "reparse": ("reparse:reparse", "Read stored metadata again with newer readers."),
    "restore": ("restore:restore", "Put a backup in the place of the index."),
    "run": ("run:run", "Run the daemon in the foreground."),
    "sample": ("sample:sample", "Choose a few pictures of many: diverse, typical, best or random."),
    "scan": ("scan:scan", "Compare the watched folders with the index now."),
    "service": ("service:service", "Install, start, stop or watch the service."),
    "show": ("show:show", "Show everything that is known of a picture."),
    "stats": ("stats:stats", "Count by model and the like; what five stars have in common."),
    "status": ("status:status", "Show how everything stands."),
    "submit": ("submit:submit", "Hand a job file to the daemon."),
    "tag": ("tag:tag", "Put tags on pictures, or take tags off."),
}

EPILOG = """\
\b
Exit codes:
  0  ok
  1  error
  2  usage: the command or the question was put wrongly
  3  nothing found
  4  the command needs the daemon, and it is not running
  5  partly failed: some of it was done; stderr says which was not

\b
Shell completion: add one line to your shell's start file
  bash  eval "$(_INDEXD_COMPLETE=bash_source indexd)"
  zsh   eval "$(_INDEXD_COMPLETE=zsh_source indexd)"
  fish  _INDEXD_COMPLETE=fish_source indexd | source

Results go to stdout, everything else to stderr. Settings: flag, environment (INDEXD_SECTION__KEY), file, default.
"""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called, and not for the list."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"indexd.cli.commands.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name where there is no such command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f"; did you mean {near[0]}?" if near else "; `indexd --help` lists them all"
            ctx.fail(f"there is no command {args[0]!r}{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"indexd {version('indexd')}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Keep everything in this one folder: settings, index, socket, inbox, output. Also INDEXD_HOME.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Say the version."
)
def app(home: str | None) -> None:
    """Index the pictures your diffusion models make, ask about them, and make new ones from job files."""
    # `--home` is read from the root context by `indexd.cli.support.session`.
    del home


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line (default: that of the process) and give its exit code."""
    try:
        outcome: Any = app.main(
            None if arguments is None else list(arguments), prog_name="indexd", standalone_mode=False
        )
    except click.Abort:
        click.echo("stopped", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except IndexdError as error:
        click.echo(f"indexd: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`| head`); what is still buffered must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    return outcome if isinstance(outcome, int) else EXIT_OK
