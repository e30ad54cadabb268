"""`indexd config`: shows, validates, finds or generates the settings."""

from __future__ import annotations

import click

from indexd.cli.support.printing import json_option, print_data, print_json_text, print_notice, print_text
from indexd.cli.support.session import home_folder, load_config
from indexd.errors import EXIT_OK, SettingsError


@click.group(short_help="Show, validate, find or generate the settings.")
def config() -> None:
    """Show, validate, find or generate the settings."""


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Print the effective settings (file, environment and defaults) as TOML."""
    import json

    from indexd_schemas.api.output import SCHEMA_VERSION
    from indexd_schemas.settings_sample import to_toml

    loaded = load_config()
    if as_json:
        places = {name: str(getattr(loaded.paths, name)) for name in loaded.paths.__dataclass_fields__}
        document = {
            "schema_version": SCHEMA_VERSION,
            "settings": loaded.settings.model_dump(mode="json"),
            "places": places,
        }
        print_json_text(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print_data(to_toml(loaded.settings))


@config.command()
def validate() -> int:
    """Check the settings file. Prints one line for each problem; exit code 1 when there are any."""
    from indexd.config import default_home, settings_path

    loaded = load_config()
    folder = home_folder()
    file = settings_path(folder.expanduser().absolute() if folder else default_home())
    if not file.exists():
        raise SettingsError(f"there is no settings file at {file}; `indexd init` writes one")
    for root in loaded.settings.roots:
        from pathlib import Path

        if not Path(root.path).is_dir():
            print_notice(f"warning: the folder {root.path} is not there now; it will be watched when it comes")
    print_text(f"{file}: valid")
    return EXIT_OK


@config.command()
def path() -> None:
    """Print the path of the settings file."""
    from indexd.config import default_home, settings_path

    folder = home_folder()
    print_text(str(settings_path(folder.expanduser().absolute() if folder else default_home())))


@config.command()
def sample() -> None:
    """Print the commented settings file: every option with description and example."""
    from indexd_schemas.settings_sample import sample_toml

    print_data(sample_toml())
