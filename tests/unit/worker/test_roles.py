"""Settings -> what the workers are told; routing; which roles are off and why."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from indexd import config
from indexd.errors import SettingsError
from indexd.model_roles import downloaded_model_folder, role_states, worker_settings
from indexd.worker.calls import (
    FACES,
    DetectorSpec,
    EmbedImages,
    EmbedText,
    FacesSpec,
    FindFaces,
    MakeThumbnails,
    ModelSpec,
    VerifyModel,
    WorkerSettings,
)
from indexd.worker.local_workers import LocalWorkers
from indexd.worker.role_availability import role_fingerprint, role_problem
from indexd.worker.routing import ROUTES, lane_of_call
from indexd_schemas.model_roles import ROLES
from tests.support.recipes import render_call


def settings_of(home: Path, text: str) -> WorkerSettings:
    (home / config.SETTINGS_FILE_NAME).write_text(text, "utf-8")
    return worker_settings(config.read_config(home))


def test_settings_become_specs(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        """
        [models.bge]
        path = "~/models/bge"
        device = "cuda"
        query_device = "cpu"
        keep_alive = "1m30s"
        batch_size = 7
        [models.clip_h]
        path = "weights.safetensors"
        architecture = "ViT-H-14"
        keep_alive = "never"
        [generate]
        threads = 3
        """,
    )
    assert set(settings.models) == {"bge", "clip_h"}
    bge = settings.models["bge"]
    assert bge.path == str(Path.home() / "models" / "bge")
    assert (bge.device, bge.query_device, bge.keep_alive_seconds, bge.batch_size) == ("cuda", "cpu", 90.0, 7)
    assert bge.query_prefix is None
    assert settings.models["clip_h"].keep_alive_seconds is None
    assert settings.models["clip_h"].architecture == "ViT-H-14"
    assert settings.threads == 3


def test_a_role_is_off_with_the_reason_and_on_once_its_model_is_there(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f'[models.bge]\npath = "{(tmp_path / "bge").as_posix()}"')
    assert role_problem(settings, "bge") == (
        f"there is nothing at {tmp_path / 'bge'}; mount it or change [models.bge] path"
    )
    assert (
        role_problem(settings, "generator")
        == "no model is set for it; name one under [models.generator] in the settings"
    )
    (tmp_path / "bge").mkdir()
    assert role_problem(settings, "bge") is None
    states = role_states(config.read_config(tmp_path))
    assert [state.role for state in states] == [*ROLES, FACES]
    assert [state.role for state in states if state.on] == ["bge"]


def test_a_hub_name_is_off_until_it_was_pulled(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, '[models.bge]\nhub = "BAAI/bge-large-en-v1.5"')
    assert role_problem(settings, "bge") == "BAAI/bge-large-en-v1.5 has not been fetched; run `indexd models pull bge`"
    downloaded_model_folder(config.read_config(tmp_path), "BAAI/bge-large-en-v1.5").mkdir(parents=True)
    assert role_problem(settings, "bge") is None


def spec(role: str, device: str = "auto", query_device: str = "") -> ModelSpec:
    return ModelSpec(role, "/nowhere", device=device, query_device=query_device)


@pytest.mark.parametrize(
    ("device", "query_device", "as_query", "lane"),
    [
        ("auto", "", False, "gpu"),
        ("auto", "", True, "gpu"),
        ("auto", "cpu", False, "gpu"),
        ("auto", "cpu", True, "cpu"),
        ("cuda", "cpu", True, "cpu"),
        ("cuda:0", "", True, "gpu"),
        ("cuda:1", "", False, "cuda:1"),
        ("cuda:1", "cpu", True, "cpu"),
        ("cpu", "", False, "cpu"),
        ("cpu", "cuda", True, "gpu"),
    ],
)
def test_texts_go_where_their_role_says(device: str, query_device: str, as_query: bool, lane: str) -> None:
    settings = WorkerSettings({"bge": spec("bge", device, query_device)}, "")
    assert lane_of_call(EmbedText("bge", ("x",), as_query=as_query), settings) == lane


def test_the_detectors_of_the_settings(tmp_path: Path) -> None:
    text = """
        [faces]
        padding = 0.4
        background = "grey"
        keep_alive = "0"
        [[faces.detectors]]
        path = "~/models/photos.pt"
        [[faces.detectors]]
        path = "drawn.pt"
        kinds = ["girl_face=face", "hand"]
        confidence = 0.6
        min_size_px = 20
        """
    faces = settings_of(tmp_path, text).faces
    assert faces.detectors == (
        DetectorSpec(str(Path.home() / "models" / "photos.pt")),
        DetectorSpec(str(tmp_path / "drawn.pt"), {"girl_face": "face", "hand": "hand"}, 0.6, 20),
    )
    assert (faces.padding, faces.background, faces.keep_alive_seconds, faces.embedder) == (0.4, "grey", 0.0, "clip_h")
    with pytest.raises(SettingsError, match=r"faces\.detectors\.0\.path: it is empty; name the folder or the file"):
        settings_of(tmp_path, '[[faces.detectors]]\npath = ""')


def test_faces_need_a_detector_and_what_embeds_them(tmp_path: Path) -> None:
    eyes = tmp_path / "eyes.pt"
    spec_of_faces = FacesSpec((DetectorSpec(str(eyes)),))
    clip_h = {"clip_h": ModelSpec("clip_h", str(tmp_path))}
    assert role_problem(WorkerSettings({}, ""), FACES) == (
        "no detector is set; name one under [[faces.detectors]] in the settings"
    )
    assert str(role_problem(WorkerSettings(clip_h, "", spec_of_faces), FACES)).startswith(f"there is nothing at {eyes}")
    eyes.write_bytes(b"1")
    assert "clip_h, which embeds them, is off" in str(role_problem(WorkerSettings({}, "", spec_of_faces), FACES))
    settings = WorkerSettings(clip_h, "", spec_of_faces)
    assert role_problem(settings, FACES) is None
    assert role_problem(WorkerSettings({}, "", replace(spec_of_faces, embedder="another")), FACES) is None
    stamp = role_fingerprint(settings, FACES)
    assert stamp == role_fingerprint(settings, FACES) != role_fingerprint(WorkerSettings({}, ""), FACES)
    assert role_fingerprint(replace(settings, faces=replace(spec_of_faces, padding=0.1)), FACES) != stamp
    os.utime(eyes, ns=(5, 5))
    assert role_fingerprint(settings, FACES) != stamp


def test_every_call_has_its_lane() -> None:
    settings = WorkerSettings({"clip_h": spec("clip_h", "cpu"), "generator": spec("generator", "cuda:1")}, "")
    assert lane_of_call(EmbedImages("clip_h", ()), settings) == "cpu"
    assert lane_of_call(EmbedImages("unknown", ()), settings) == "gpu"
    assert lane_of_call(FindFaces(()), settings) == lane_of_call(VerifyModel("faces"), settings) == "cpu"
    assert lane_of_call(VerifyModel("clip_h"), settings) == "cpu"
    assert lane_of_call(render_call(), settings) == "cuda:1"
    assert lane_of_call(MakeThumbnails((), "", 1), settings) == "decode"


def test_the_table_names_every_call_and_functions_that_exist() -> None:
    from importlib.util import find_spec
    from typing import get_args

    from indexd.worker import calls

    assert set(ROUTES) == set(get_args(calls.AnyCall))
    for route in ROUTES.values():
        module, _, name = route.function.partition(":")
        found = find_spec(module)
        assert found is not None
        assert found.origin is not None
        assert f"def {name}(" in Path(found.origin).read_text("utf-8")


def test_a_stamp_changes_with_the_files_only(tmp_path: Path) -> None:
    folder = tmp_path / "model"

    def model_stamp(path: str) -> str | None:
        return role_fingerprint(WorkerSettings({"bge": ModelSpec("bge", path)}, ""), "bge")

    (folder / "part").mkdir(parents=True)
    (folder / "part" / "weights").write_bytes(b"one")
    first = model_stamp(str(folder))
    assert model_stamp(str(folder)) == first
    os.utime(folder / "part" / "weights", ns=(5, 5))
    assert model_stamp(str(folder)) != first
    assert model_stamp(str(tmp_path / "none")) != first


def test_local_workers_answer_for_the_model_files_of_their_machine(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    workers = LocalWorkers(WorkerSettings({"bge": ModelSpec("bge", str(path))}, str(tmp_path)))
    assert workers.role_problem("bge") == f"there is nothing at {path}; mount it or change [models.bge] path"
    path.write_bytes(b"one")
    assert workers.role_problem("bge") is None
    first = workers.role_fingerprint("bge")
    path.write_bytes(b"three")
    assert workers.role_problem("bge") is None
    assert workers.role_fingerprint("bge") != first
    assert workers.role_fingerprint("clip_h") is None
