"""Settings in environment variables."""

from __future__ import annotations

import os

from pydantic_settings import BaseSettings, EnvSettingsSource

from indexd.errors import SettingsError


class EnvironmentSource(EnvSettingsSource):
    """`INDEXD_SECTION__KEY`; `INDEXD_HOME` is the folder of the settings and no setting itself."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        for name in os.environ:
            # Only names of our own form: other programs, and Kubernetes for a service of our name, set INDEXD_PORT and such.
            section, separator, _ = name.upper().removeprefix("INDEXD_").partition("__")
            if name.upper().startswith("INDEXD_") and separator and section.lower() not in settings_cls.model_fields:
                raise SettingsError(f"{name}: there is no section {section.lower()!r} in the settings")
        self.env_vars = {key: value for key, value in self.env_vars.items() if key.lower() != "indexd_home"}
