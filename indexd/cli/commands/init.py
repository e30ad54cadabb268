"""`indexd init`: writes the commented settings and creates the folders."""

from __future__ import annotations

from pathlib import Path

import click

from indexd.cli.support.printing import print_notice, print_text
from indexd.cli.support.session import home_folder, load_config
from indexd.errors import IndexdError


@click.command(short_help="Write commented settings and create folders.")
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Watch this folder (repeatable).",
)
def init(roots: tuple[str, ...]) -> None:
    """Write the commented settings file and create its folders. Changes nothing that exists."""
    from indexd.config import default_home, read_settings, settings_path
    from indexd_schemas.settings_sample import sample_toml, toml_value

    folder = home_folder()
    file = settings_path(folder.expanduser().absolute() if folder else default_home())
    text = sample_toml()
    for root in roots:
        path = Path(root).expanduser().absolute()
        if not path.is_dir():
            raise IndexdError(f"{path} is no folder; only existing folders can be watched")
        text += f"\n[[roots]]\npath = {toml_value(str(path))}\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        # An existing file belongs to the user; still report whether it is valid.
        read_settings(file)
        raise IndexdError(
            f"{file} is there already and is left as it is; `indexd config sample` prints a fresh one"
        ) from None
    except OSError as error:
        raise IndexdError(f"cannot write {file}: {error.strerror or error}") from None
    places = load_config().paths
    for made in (places.home, places.inbox, places.output):
        made.mkdir(parents=True, exist_ok=True)
    print_text(str(file))
    print_notice(f"inbox for job files: {places.inbox}")
    print_notice(f"images of jobs:      {places.output}")
    print_notice("next: name your folders and models in the settings, then `indexd doctor`, then `indexd run`")
