"""Finding and embedding faces with a real detector and a real (tiny) ViT, decoded upright and once."""

from __future__ import annotations

import os
import pickle
import socket
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from indexd.errors import CallCancelled, ModelUnavailable
from indexd.models.detector import Detection, suppress_overlaps
from indexd.models.image_inputs import MAX_DECODED_PIXELS
from indexd.models.serve_faces import find_faces
from indexd.models.serve_verify import verify_model
from indexd.worker.calls import (
    CLIP_H,
    DetectorSpec,
    FacesFound,
    FacesSpec,
    FindFaces,
    FoundRegion,
    ModelSpec,
    VerifyModel,
    WorkerSettings,
)
from tests.models.resident.test_embedding import PlainSession
from tests.models.resident.tiny_detector import write_detector
from tests.support.tiny_models.models import TinyModels

DIM = 64
NOISE = np.random.default_rng(3).integers(0, 255, (48, 72, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector"), ("face", "hand"), ("face", "hand"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_named: object) -> None:
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def session(tiny_models: TinyModels, detector: Path, tmp_path: Path) -> PlainSession:
    spec = ModelSpec(CLIP_H, str(tiny_models.clip_h), device="cpu", dtype="float32")
    faces = FacesSpec((DetectorSpec(str(detector), min_size_px=4),))
    return PlainSession(WorkerSettings({CLIP_H: spec}, str(tmp_path / "cache"), faces))


def with_faces(session: PlainSession, **changes: object) -> PlainSession:
    return PlainSession(replace(session.settings, faces=replace(session.settings.faces, **changes)))  # type: ignore[arg-type]


def saved(path: Path, pixels: np.ndarray = NOISE, orientation: int | None = None) -> bytes:
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return os.fsencode(path)


def found(session: PlainSession, *paths: bytes, known: tuple[tuple[FoundRegion, ...], ...] = ()) -> FacesFound:
    return find_faces(FindFaces(paths, known), session)


def test_every_picture_gets_its_regions_and_every_face_its_vector(session: PlainSession, tmp_path: Path) -> None:
    one, two = saved(tmp_path / "a.png"), saved(tmp_path / "b.png", NOISE[::-1].copy())
    broken = tmp_path / "c.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    result = found(session, one, os.fsencode(broken), two)
    assert set(result.problems) == {1}
    assert result.regions[1] == ()
    regions = [region for many in result.regions for region in many]
    faces = [region for region in regions if region.kind == "face"]
    assert faces and {region.kind for region in regions} == {"face", "hand"}
    assert [region.row for region in faces] == list(range(len(faces))) and result.vectors.shape == (len(faces), DIM)
    assert all(region.row is None for region in regions if region.kind == "hand")
    assert np.allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-4)
    for region in regions:
        left, top, width, height = region.box
        assert 0 <= left < left + width <= 1 + 1e-9 and 0 <= top < top + height <= 1 + 1e-9
        assert region.size_px >= 4 and region.confidence >= 0.4 and 0 < region.quality <= 1
        assert region.detector.startswith("tiny0.pt/")


def test_torch_keeps_its_threads(session: PlainSession, tmp_path: Path) -> None:
    """Of another number of threads a sum is another in its last bit, and so is a picture that is made after this."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found(session, saved(tmp_path / "a.png"))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_alone_or_in_a_batch_is_the_same(session: PlainSession, tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.png", np.roll(NOISE, 5 * n, axis=0)) for n in range(5)]
    together = found(with_faces(session, batch_size=2), *paths)
    start = 0
    for path, regions in zip(paths, together.regions, strict=True):
        alone = found(session, path)
        assert [one.kind for one in alone.regions[0]] == [one.kind for one in regions]
        assert np.allclose([one.box for one in alone.regions[0]], [one.box for one in regions], atol=1e-4)
        assert np.allclose(alone.vectors, together.vectors[start : start + len(alone.vectors)], atol=1e-4)
        start += len(alone.vectors)
    assert start == len(together.vectors)


def test_a_picture_that_lies_on_its_side_is_looked_at_upright(session: PlainSession, tmp_path: Path) -> None:
    upright = found(session, saved(tmp_path / "a.png"))
    turned = found(session, saved(tmp_path / "b.png", np.rot90(NOISE).copy(), orientation=6))
    assert upright.regions == turned.regions
    assert np.array_equal(upright.vectors, turned.vectors)


def test_only_what_is_confident_and_large_enough_is_kept(session: PlainSession, detector: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    every = found(session, path).regions[0]
    sizes, sure = sorted(one.size_px for one in every), sorted(one.confidence for one in every)
    assert len(every) > 4
    wanted = sizes[len(sizes) // 2]
    large = found(with_faces(session, detectors=(DetectorSpec(str(detector), min_size_px=wanted),)), path).regions[0]
    assert 0 < len(large) < len(every) and min(one.size_px for one in large) >= wanted
    middle = sure[len(sure) // 2]
    certain = found(with_faces(session, detectors=(DetectorSpec(str(detector), {}, middle, 4),)), path).regions[0]
    assert 0 < len(certain) < len(every) and min(one.confidence for one in certain) >= middle


def test_classes_are_chosen_and_called_by_other_names(session: PlainSession, detector: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    hands = with_faces(session, detectors=(DetectorSpec(str(detector), {"hand": "face"}, min_size_px=4),))
    result = found(hands, path)
    assert {one.kind for one in result.regions[0]} == {"face"} and len(result.vectors) == len(result.regions[0])
    wrong = with_faces(session, detectors=(DetectorSpec(str(detector), {"nose": "nose"}),))
    with pytest.raises(ModelUnavailable, match="detects none of nose; its classes are face, hand"):
        found(wrong, path)


def test_two_detectors_see_one_face_once(session: PlainSession, detector: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    other = tmp_path / "other.pt"
    other.write_bytes(detector.read_bytes())
    twice = (*session.settings.faces.detectors, DetectorSpec(str(other), min_size_px=4))
    single, double = found(session, path), found(with_faces(session, detectors=twice), path)
    assert [one.box for one in double.regions[0]] == [one.box for one in single.regions[0]]
    assert double.detector_identity != single.detector_identity and double.identity == single.identity


def test_of_overlapping_boxes_of_a_kind_the_surest_stays() -> None:
    def seen(kind: str, left: float, confidence: float) -> Detection:
        return Detection(kind, "d", (left, 0.0, 0.4, 0.4), confidence, 40)

    boxes = [seen("face", 0.0, 0.5), seen("face", 0.05, 0.9), seen("hand", 0.0, 0.4), seen("face", 0.5, 0.45)]
    assert suppress_overlaps(boxes) == [boxes[1], boxes[3], boxes[2]]


def test_what_people_spoke_of_is_embedded_though_nothing_finds_it(
    session: PlainSession, detector: Path, tmp_path: Path
) -> None:
    path = saved(tmp_path / "a.png")
    blind = with_faces(session, detectors=(DetectorSpec(str(detector), {"face": "face"}, 1.0, 4),))
    assert found(blind, path).regions == ((),)
    known = FoundRegion("face", "older/1", 0.2, 0.2, 0.5, 0.5, 0.8, 24)
    result = found(blind, path, known=((known,),))
    ((region,),) = result.regions
    assert (region.box, region.detector, region.row) == (known.box, "older/1", 0)
    assert result.vectors.shape == (1, DIM)


def test_without_pictures_it_says_which_models_it_has(session: PlainSession) -> None:
    result = found(session)
    assert result.vectors.shape == (0, DIM)
    assert result.identity.startswith("clip_h/") and result.detector_identity
    padded = found(with_faces(session, padding=0.5))
    assert padded.identity != result.identity and padded.detector_identity == result.detector_identity


def test_a_cancelled_call_ends_between_groups(session: PlainSession, tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{n}.png") for n in range(3)]
    few = with_faces(session, batch_size=1)
    few.cancel_at = 2
    with pytest.raises(CallCancelled):
        found(few, *paths)


def test_large_pictures_are_not_held_all_at_once(
    session: PlainSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_DECODED_PIXELS >= 1 << 24
    monkeypatch.setattr("indexd.models.image_inputs.MAX_DECODED_PIXELS", 2 * 48 * 72)
    paths = [saved(tmp_path / f"{n}.png") for n in range(5)]
    few = with_faces(session)
    result = found(few, *paths)
    assert len(result.regions) == 5 and all(result.regions)


def test_code_in_a_detector_file_is_refused_and_not_run(session: PlainSession, detector: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return os.mkdir, (str(mark),)

    evil = tmp_path / "evil.pt"
    with zipfile.ZipFile(detector) as good, zipfile.ZipFile(evil, "w") as bad:
        for name in good.namelist():
            data = pickle.dumps({"model": Evil()}, 2) if name.endswith("data.pkl") else good.read(name)
            bad.writestr(name, data)
    torch.load(evil, weights_only=False)
    mark.rmdir()  # so it would have run
    with pytest.raises(ModelUnavailable, match=r"evil\.pt cannot be loaded"):
        found(with_faces(session, detectors=(DetectorSpec(str(evil)),)))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [("none.pt", None, "nothing at"), ("a.onnx", b"x", "no .pt file"), ("bad.pt", b"x" * 100, "cannot be loaded")],
)
def test_a_detector_that_cannot_be_used_says_why(
    session: PlainSession, tmp_path: Path, name: str, data: bytes | None, reason: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelUnavailable, match=reason):
        found(with_faces(session, detectors=(DetectorSpec(str(tmp_path / name)),)))
    with pytest.raises(ModelUnavailable, match="no detector is set"):
        found(with_faces(session, detectors=()))


PLUG_IN = """
import numpy as np

class Brightness:
    dim = 2
    def __init__(self, path, device):
        self.identity = f"brightness/{path}/{device}"
    def embed_images(self, pictures):
        levels = np.array([np.asarray(picture).mean() / 255 for picture in pictures], np.float32)
        return np.stack([np.cos(levels), np.sin(levels)], axis=1)

def load(path, device, cache_folder):
    return Brightness(path, device)
"""


def brightness(face: FoundRegion, result: FacesFound) -> float:
    """What `Brightness` says of a face: the second number grows with it."""
    assert face.row is not None
    return float(result.vectors[face.row, 1])


def test_an_embedder_of_another_package_is_used_when_it_is_named(
    session: PlainSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site"
    (package / "bright-1.dist-info").mkdir(parents=True)
    (package / "bright.py").write_text(PLUG_IN)
    (package / "bright-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bright\nVersion: 1\n")
    (package / "bright-1.dist-info" / "entry_points.txt").write_text(
        "[indexd.face_embedders]\nbrightness = bright:load\n"
    )
    monkeypatch.syspath_prepend(str(package))
    dark, light = saved(tmp_path / "a.png", NOISE // 4), saved(tmp_path / "b.png", 255 - NOISE // 4)
    named = with_faces(session, embedder="brightness", embedder_path="/w")
    result = found(named, dark, light)
    assert result.identity == "brightness//w/cpu+crop1/0.25/keep"
    below, above = ([brightness(region, result) for region in many if region.kind == "face"] for many in result.regions)
    assert below and above and max(below) < min(above)
    with pytest.raises(ModelUnavailable, match=r"no face embedder 'brightnes' is installed; did you mean brightness\?"):
        found(with_faces(session, embedder="brightnes"))


def test_models_verify_covers_the_detector(session: PlainSession, tmp_path: Path) -> None:
    verified = verify_model(VerifyModel("faces"), session)
    assert f"{DIM} numbers a vector on cpu, tiny0.pt/" in verified.detail
    with pytest.raises(ModelUnavailable, match="nothing at"):
        verify_model(
            VerifyModel("faces"),
            with_faces(session, detectors=(DetectorSpec(str(tmp_path / "x.pt")),)),
        )


def test_pillow_is_left_as_it_was(session: PlainSession, tmp_path: Path) -> None:
    found(session, saved(tmp_path / "a.png"))
    assert Image.open.__module__ == "PIL.Image"
