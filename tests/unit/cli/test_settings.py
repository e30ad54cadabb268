"""`init` and `config`, and the sample that is generated from the schema."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from indexd.config import read_config
from indexd.errors import SettingsError
from indexd_schemas.settings import RootSettings, Settings, SettingsSection
from indexd_schemas.settings_sample import sample_toml, to_toml
from tests.unit.cli.conftest import Indexd

_COMMENTED = re.compile(r"^# (?=[a-z_]+ = |\[)", re.MULTILINE)


def options(model: type[BaseModel], path: str = "") -> list[tuple[str, str]]:
    """(dotted path, description) of every option."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += options(field.annotation, f"{path}{name}.")
        elif name != "roots":
            found.append((f"{path}{name}", field.description or ""))
    return found


def flat(data: dict[str, Any], path: str = "") -> set[str]:
    """Dotted paths of the leaves."""
    return {
        leaf
        for key, value in data.items()
        for leaf in (flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key})
    }


def test_the_sample_changes_nothing() -> None:
    assert Settings(**tomllib.loads(sample_toml())) == Settings()


def test_the_sample_has_every_option_with_description_and_example_and_is_valid_uncommented() -> None:
    text = sample_toml()
    data = tomllib.loads(_COMMENTED.sub("", text))
    fixed = [option for option in options(Settings) if option[0] != "stages"]
    assert flat(data) - {"roots"} == {path for path, _ in fixed}
    assert set(data["roots"][0]) == set(RootSettings.model_fields)
    assert Settings(**data).watch == Settings().watch
    joined = " ".join(line.lstrip("# ") for line in text.splitlines())
    for path, description in options(Settings) + options(RootSettings):
        assert description, f"{path} has no description"
        assert " ".join(description.split()) in joined
    assert text.count("Example:") == len(fixed) + len(RootSettings.model_fields)
    assert max(map(len, text.splitlines())) <= 125


def test_settings_come_back_as_they_were() -> None:
    settings = Settings(
        roots=({"path": 'C:\\Bilder "neu"\t\x7f\u2028ä', "include": ["**/*.png"]},),
        models={"bge": {"path": "/m", "query_prefix": None, "keep_alive": "never"}},
        generate={"max_megapixels": 12.5},
    )
    assert Settings(**tomllib.loads(to_toml(settings))) == settings


def test_init_writes_settings_that_can_be_used_and_never_writes_over_them(
    indexd: Indexd, home: Path, tmp_path: Path
) -> None:
    made = indexd("init", "--root", str(tmp_path))
    assert made.code == 0
    assert made.out == f"{home / 'indexd.toml'}\n"
    assert [root.path for root in read_config(home).settings.roots] == [str(tmp_path)]
    assert (home / "inbox").is_dir()
    assert (home / "output").is_dir()
    assert indexd("config", "validate").code == 0
    (home / "indexd.toml").write_text("[log]\nlevel = 'DEBUG'\n", "utf-8")
    again = indexd("init")
    assert again.code == 1
    assert "left as it is" in again.err
    assert read_config(home).settings.log.level == "DEBUG"


def test_init_refuses_a_root_that_is_not_there(indexd: Indexd, home: Path) -> None:
    assert indexd("init", "--root", str(home / "gone")).code == 1
    assert list(home.iterdir()) == []


def test_config_path_show_and_sample(indexd: Indexd, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert indexd("config", "path").out == f"{home / 'indexd.toml'}\n"
    assert indexd("config", "sample").out == sample_toml()
    (home / "indexd.toml").write_text("[watch]\nsettle_seconds = 2\n", "utf-8")
    monkeypatch.setenv("INDEXD_WATCH__SWEEP", "9s")
    shown = tomllib.loads(indexd("config", "show").out)
    assert (shown["watch"]["settle_seconds"], shown["watch"]["sweep"]) == (2, "9s")
    document = indexd("config", "show", "--json").json
    assert document["schema_version"] == 1
    assert document["places"]["inbox"] == str(home / "inbox")


@pytest.mark.skipif(sys.platform == "win32", reason="the expected text has paths of POSIX")
def test_validate_says_what_is_wrong(indexd: Indexd, home: Path) -> None:
    missing = indexd("config", "validate")
    assert missing.code == 1
    assert "indexd init" in missing.err
    (home / "indexd.toml").write_text('[models.bge]\nkeep_alive = "soon"\n', "utf-8")
    wrong = indexd("config", "validate")
    assert wrong.code == 1
    assert "models.bge.keep_alive" in wrong.err
    (home / "indexd.toml").write_text('[[roots]]\npath = "/gone/away"\n', "utf-8")
    warned = indexd("config", "validate")
    assert warned.code == 0
    assert "/gone/away" in warned.err


def test_the_home_may_come_from_the_environment(
    indexd: Indexd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from indexd.cli.app import run

    monkeypatch.setenv("INDEXD_HOME", str(tmp_path / "elsewhere"))
    capfd.readouterr()
    assert run(["config", "path"]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'elsewhere' / 'indexd.toml'}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the expected text has paths of POSIX")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[roots]]\npath = ""\n', "roots.0.path: it is empty"),
        ('[[roots]]\npath = "a\\u0000b"\n', "roots.0.path: a path cannot hold a NUL"),
        ('[models.bge]\npath = "~nobody-of-this-name/m"\n', "models.bge.path: '~nobody-of-this-name/m' names a user"),
        ('[paths]\ninbox = "/a/x"\noutput = "/a/./x"\n', "paths.inbox: /a/x is also paths.output"),
        ('[paths]\ninbox = "/a/x"\n[[roots]]\npath = "/a/x/"\n', "roots.0.path: /a/x is the inbox; choose"),
    ],
)
def test_paths_that_could_only_disappoint_are_refused(indexd: Indexd, home: Path, text: str, sentence: str) -> None:
    (home / "indexd.toml").write_text(text, "utf-8")
    wrong = indexd("config", "validate")
    assert wrong.code == 1
    assert f"{home / 'indexd.toml'}: {sentence}" in wrong.err


@pytest.mark.skipif(sys.platform == "win32", reason="the expected text has paths of POSIX")
def test_a_relative_path_means_the_folder_of_the_settings_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        [paths]
        inbox = "in"
        [[roots]]
        path = "../pictures"
        [models.bge]
        path = "models/bge"
        [generate]
        lora_folders = ["loras", "/mnt/loras", "~/loras"]
        [[faces.detectors]]
        path = "faces.pt"
    """
    (home / "indexd.toml").write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INDEXD_LOG__FILE", "indexd.log")
    config = read_config(home)
    settings = config.settings
    assert config.paths.inbox == home / "in"
    assert config.paths.log == home / "indexd.log"
    assert [root.path for root in settings.roots] == [str(home / "../pictures")]
    assert settings.models.bge.path == str(home / "models" / "bge")
    assert settings.generate.lora_folders == (str(home / "loras"), "/mnt/loras", str(Path.home() / "loras"))
    assert settings.faces.detectors[0].path == str(home / "faces.pt")
    assert settings.models.clip_h.path == ""


def test_every_setting_whose_example_is_a_path_is_declared_as_one() -> None:
    """What is forgotten would be looked for in the daemon's current folder."""
    forgotten = [
        f"{part.__name__}.{name}"
        for part in SettingsSection.__subclasses__()
        for name, field in part.model_fields.items()
        if re.match(r"\['?\[?'[~/]", str(field.examples)) and "LocalPath" not in str(part.__annotations__[name])
    ]
    assert forgotten == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("INDEXD_WATCH__SETTLE_SECONDS", "soon", "INDEXD_WATCH__SETTLE_SECONDS: watch.settle_seconds: "),
        ("INDEXD_WATCH__SETTLE", "1", "INDEXD_WATCH__SETTLE: watch.settle is no setting"),
        ("INDEXD_WACH__SWEEP", "1s", "INDEXD_WACH__SWEEP: there is no section 'wach'"),
        ("INDEXD_ROOTS", "/pictures", "the environment cannot be used: "),
    ],
)
def test_a_wrong_variable_is_named_and_not_the_file(
    indexd: Indexd, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    wrong = indexd("config", "show")
    assert wrong.code == 1
    assert wrong.err.startswith(f"indexd: {sentence}")


def test_variables_that_others_set_are_left_alone(indexd: Indexd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXD_PORT", "tcp://10.0.0.1:80")
    assert indexd("config", "show").code == 0


def test_every_wrong_setting_has_a_line_of_its_own(indexd: Indexd, home: Path) -> None:
    (home / "indexd.toml").write_text("[watch]\nsettle_seconds = -1\nreconcile = 'soon'\n", "utf-8")
    assert len(indexd("config", "validate").err.splitlines()) == 2


def test_only_the_generator_takes_fp8(home: Path) -> None:
    assert read_config(home, {"models": {"generator": {"dtype": "fp8"}}}).settings.models.generator.dtype == "fp8"
    with pytest.raises(SettingsError, match=r"clip_h\.dtype: only the generator has fp8"):
        read_config(home, {"models": {"clip_h": {"dtype": "fp8"}}})


def test_a_windows_path_in_double_quotes_is_written_out_right(indexd: Indexd, home: Path) -> None:
    (home / "indexd.toml").write_text('[[roots]]\npath = "C:\\Users\\ann\\pictures"\n', "utf-8")
    refused = indexd("config", "validate")
    assert refused.code == 1
    assert "line 2" in refused.err
    assert r"put a path with backslashes in single quotes: 'C:\Users\ann\pictures'" in refused.err
