"""A worker without processes and models, for tests and for measuring everything else: the same protocol as LocalWorkers.

Vectors are known: a text is the sum of its words' own directions, an image that of its bytes, so that equal input is
equal, and texts that share words are near. Renders are instant. Deaths and errors happen when they were scripted.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from indexd.errors import CallCancelled, IndexdError, ModelUnavailable, raise_transient_if_present
from indexd.images.copy_comparison import compare_copies
from indexd.images.encode import ImageTexts, encode_image
from indexd.images.read_images import parse_texts, read_images
from indexd.model_inspection.describe_models import describe_models
from indexd.worker import result_validation, role_availability
from indexd.worker.call_handle import CallHandle, LaneStatus, OnProgress
from indexd.worker.calls import (
    FACES,
    GENERATOR,
    AnalyseImages,
    AnyCall,
    CallProgress,
    CompareCopies,
    CompareImages,
    DescribeModels,
    Embedded,
    EmbedImages,
    EmbedText,
    FacesFound,
    FindFaces,
    FloatVectors,
    FoundRegion,
    ImageAttribute,
    ImagesAnalysed,
    ImagesCompared,
    MakeControlMap,
    MakeThumbnails,
    ModelSpec,
    ModelVerified,
    ParseTexts,
    Priority,
    ReadImages,
    Render,
    Rendered,
    RunFunction,
    SelfTest,
    ThumbnailsMade,
    VerifyModel,
    WorkerSettings,
)
from indexd.worker.protocol import WorkerBug
from indexd.worker.routing import serve_named_function
from indexd.worker.session import Pool
from indexd_schemas.recipe import ScoreRef

DIM = 32


def seeded_unit_vector(seed: bytes, dim: int = DIM) -> FloatVectors:
    """A unit vector, float32 (dim,), that depends on the bytes only."""
    number = int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")
    vector = np.random.default_rng(number).standard_normal(dim)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def text_vector(text: str, dim: int = DIM) -> FloatVectors:
    """The unit sum of the directions of the words of a text, float32 (dim,)."""
    words = text.lower().split() or [""]
    total = np.sum([seeded_unit_vector(word.encode(), dim) for word in words], axis=0)
    return np.asarray(total / np.linalg.norm(total), np.float32)


# Readers need no model, so these are the real ones.
_READERS: dict[type, Callable[[Any], Any]] = {
    ReadImages: read_images,
    ParseTexts: parse_texts,
    DescribeModels: describe_models,
    CompareCopies: compare_copies,
}


class FakeWorkers:
    """Answers in the thread that submits, unless held.

    `known_vectors` maps texts (str) and image paths (bytes) to vectors; calls of `disabled_roles` fail with a reason.
    With `settings`, `role_problem` judges by the model files as LocalWorkers does, else by `disabled_roles`.
    `faces` maps an image path to faces, given as vectors or as bytes that name a person. Any other image has one face.
    `tamper` may change a result, which must then pass the validation of real results. `same_image_verdict` is the
    verdict on every two images. `calls` lists the submitted calls, and `call_counts` counts them by class.
    """

    def __init__(
        self,
        known_vectors: Mapping[str | bytes, Sequence[float]] | None = None,
        disabled_roles: Mapping[str, str] | None = None,
        identity: str = "fake/1",
        dim: int = DIM,
    ) -> None:
        self.known_vectors = dict(known_vectors or {})
        self.disabled_roles = dict(disabled_roles or {})
        self.identity = identity
        self.dim = dim
        self.faces: dict[bytes, Sequence[bytes | Sequence[float]]] = {}
        self.attributes: dict[bytes, tuple[ImageAttribute, ...]] = {}
        self.detector_identity = "fake eyes/1"
        self.settings: WorkerSettings | None = None
        self.calls: list[AnyCall] = []
        self.call_counts: Counter[type] = Counter()
        self.same_image_verdict: bool | str = True
        self.tamper: Callable[[AnyCall, Any], Any] = lambda _call, result: result
        self.deaths = 0
        self.stopped = False
        self._scripted_errors: deque[tuple[Callable[[AnyCall], bool], BaseException]] = deque()
        self._held: deque[tuple[CallHandle, OnProgress | None]] | None = None
        self._lock = threading.RLock()

    def fail_next(self, error: BaseException, when: Callable[[AnyCall], bool] = lambda _call: True) -> None:
        """Let the next call for which `when` holds end with `error` (WorkerDied, OutOfMemory, …); once a script line."""
        self._scripted_errors.append((when, error))

    def hold(self) -> None:
        """Take calls without answering until `release`; meanwhile they can be cancelled."""
        with self._lock:
            self._held = deque() if self._held is None else self._held

    def release(self, count: int | None = None) -> int:
        """Answer `count` held calls in order; None = all of them, and hold no more. Answers how many there were."""
        answered = 0
        while count is None or answered < count:
            with self._lock:
                if not self._held:
                    self._held = None if count is None else self._held
                    break
                call, on_progress = self._held.popleft()
            self._answer(call, on_progress)
            answered += 1
        return answered

    def release_kind(self, kind: type) -> None:
        """Answer the held calls of one class; the others stay held."""
        with self._lock:
            held = [one for one in self._held or () if isinstance(one[0].call, kind)]
            self._held = deque(one for one in self._held or () if not isinstance(one[0].call, kind))
        for call, on_progress in held:
            self._answer(call, on_progress)

    def submit(
        self,
        call: AnyCall,
        *,
        priority: Priority = Priority.JOB,  # noqa: ARG002 - the signature is the real one's
        on_progress: OnProgress | None = None,
        timeout_seconds: float | None = None,  # noqa: ARG002
    ) -> CallHandle:
        """Answer at once, or keep the call while held."""
        handle: CallHandle
        handle = CallHandle(call, lambda: handle.fail(CallCancelled("cancelled")))
        with self._lock:
            self.calls.append(call)
            self.call_counts[type(call)] += 1
            if self.stopped:
                handle.fail(CallCancelled("stopped"))
                return handle
            if self._held is not None:
                self._held.append((handle, on_progress))
                return handle
        self._answer(handle, on_progress)
        return handle

    def status(self) -> list[LaneStatus]:
        """One lane that never lives in a process."""
        queued = len(self._held or ())
        return [LaneStatus("fake", pid=None, alive=not self.stopped, deaths=self.deaths, queued=queued)]

    def role_problem(self, role: str) -> str | None:
        """See WorkerBackend."""
        return role_availability.role_problem(self.settings, role) if self.settings else self.disabled_roles.get(role)

    def role_fingerprint(self, role: str) -> str | None:
        """See WorkerBackend; without `settings` it is the identity."""
        return role_availability.role_fingerprint(self.settings, role) if self.settings else self.identity

    def stop(self, deadline: float) -> None:  # noqa: ARG002 - the signature is the real one's
        """Fail what is held, refuse what comes."""
        with self._lock:
            self.stopped = True
            held, self._held = self._held or (), None
        for call, _ in held:
            call.fail(CallCancelled("stopped"))

    def _answer(self, handle: CallHandle, on_progress: OnProgress | None) -> None:
        if handle.done():
            return
        for place, (when, error) in enumerate(self._scripted_errors):
            if when(handle.call):
                del self._scripted_errors[place]
                self.deaths += 1
                handle.fail(error)
                return
        try:
            call = handle.call
            result = self._run(call, on_progress) if isinstance(call, RunFunction) else self._serve(call)
        except IndexdError as error:
            handle.fail(error)
            return
        if on_progress is not None:
            on_progress(CallProgress("fake", 1, 1))
        result = self.tamper(handle.call, result)
        fault = result_validation.find_result_error(handle.call, result)
        if fault is None:
            handle.finish(result)
        else:
            handle.fail(WorkerBug(f"a wrong answer: {fault}"))

    def _run(self, call: RunFunction, on_progress: OnProgress | None) -> Any:
        return serve_named_function(call, _FakeSession(on_progress))

    def _serve(self, call: AnyCall) -> Any:
        match call:
            case EmbedText(role, texts):
                return self._embedded(role, [self._text_vector(text) for text in texts], {})
            case EmbedImages(role, paths):
                vectors = [self._image_vector(path) for path in paths]
                problems = {place: "cannot be read" for place, vector in enumerate(vectors) if np.isnan(vector).any()}
                return self._embedded(role, vectors, problems)
            case AnalyseImages(role, _, paths):
                self._raise_if_disabled(role)
                return ImagesAnalysed(tuple(self._attributes_of(role, path) for path in paths), self.identity)
            case FindFaces(paths):
                return self._found_faces(paths)
            case MakeThumbnails(jobs):
                there = {n: os.path.exists(path) for n, (path, _) in enumerate(jobs)}
                return ThumbnailsMade(
                    {n: "cannot be read" for n, exists in there.items() if not exists},
                    {n: blake2b(jobs[n][1]).digest() for n, exists in there.items() if exists},
                )
            case ReadImages() | ParseTexts() | DescribeModels() | CompareCopies():
                return _READERS[type(call)](call)
            case CompareImages(pairs):
                return ImagesCompared(tuple(self.same_image_verdict for _ in pairs))
            case VerifyModel(role):
                self._raise_if_disabled(role)
                return ModelVerified(self.identity, "a fake")
            case MakeControlMap():
                raise ModelUnavailable("control map", "a fake makes none")
            case Render():
                self._raise_if_disabled(GENERATOR)
                return fake_render(call)
            case SelfTest():
                return call.payload

    def _raise_if_disabled(self, role: str) -> None:
        if role in self.disabled_roles:
            raise ModelUnavailable(role, self.disabled_roles[role])

    def _embedded(self, role: str, vectors: Sequence[FloatVectors], problems: Mapping[int, str]) -> Embedded:
        self._raise_if_disabled(role)
        stacked = np.stack(vectors) if vectors else np.zeros((0, self.dim), np.float32)
        return Embedded(stacked, self.identity, problems)

    def _attributes_of(self, role: str, path: bytes) -> tuple[ImageAttribute, ...]:
        return self.attributes.get(path, (ImageAttribute(role, f"a fake {role} of {os.path.basename(path)!r}", 0.5),))

    def _found_faces(self, paths: Sequence[bytes]) -> FacesFound:
        self._raise_if_disabled(FACES)
        regions: list[tuple[FoundRegion, ...]] = []
        rows: list[FloatVectors] = []
        problems: dict[int, str] = {}
        for place, path in enumerate(paths):
            mine: list[FoundRegion] = []
            try:
                seen = self.faces[path] if path in self.faces else [(b"face" + Path(os.fsdecode(path)).read_bytes())]
            except OSError as error:
                raise_transient_if_present(error, path)
                seen, problems[place] = [], "cannot be read"
            for nth, face in enumerate(seen):
                vector = seeded_unit_vector(face, self.dim) if isinstance(face, bytes) else np.asarray(face, np.float32)
                left = nth / len(seen)
                mine.append(
                    FoundRegion("face", "fake", left, 0.25, 0.9 / len(seen), 0.5, 0.9, 64, 50.0, 0.8, len(rows))
                )
                rows.append(vector)
            regions.append(tuple(mine))
        stacked = np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
        return FacesFound(tuple(regions), stacked, self.identity, self.detector_identity, problems)

    def _text_vector(self, text: str) -> FloatVectors:
        known = self.known_vectors.get(text)
        return text_vector(text, self.dim) if known is None else np.asarray(known, np.float32)

    def _image_vector(self, path: bytes) -> FloatVectors:
        known = self.known_vectors.get(path)
        if known is not None:
            return np.asarray(known, np.float32)
        try:
            return seeded_unit_vector(Path(os.fsdecode(path)).read_bytes(), self.dim)
        except OSError as error:
            raise_transient_if_present(error, path)
            return np.full(self.dim, np.nan, np.float32)


class _FakeSession:
    """The session of a function that needs no model."""

    settings = WorkerSettings({}, "")

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress

    @property
    def pool(self) -> Pool:
        raise ModelUnavailable("pool", "a fake loads no models")

    def spec(self, role: str) -> ModelSpec:
        raise ModelUnavailable(role, "a fake has no models")

    def poll(self) -> None:
        """Nothing is urgent."""

    def progress(self, stage: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(CallProgress(stage, done, total))


def fake_render(call: Render) -> Rendered:
    """A plain image of the wanted size whose colour depends on the recipe; the same recipe gives the same bytes.

    Scores follow from the seed: clip its last two digits as hundredths, aesthetic the last one, sharpness all of it.
    """
    recipe = call.recipe
    if recipe.score:
        values = {"clip": recipe.seed % 100 / 100, "aesthetic": recipe.seed % 10, "sharpness": recipe.seed}
        scores = {name: ScoreRef(value=float(values[name])) for name in recipe.score}
        recipe = recipe.model_copy(update={"scores": scores})
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True)
    color = zlib.crc32(text.encode())
    image = Image.new("RGB", (recipe.width, recipe.height), (color & 255, color >> 8 & 255, color >> 16 & 255))
    return Rendered(encode_image(image, ImageTexts(recipe.prompt, text), recipe.encoding), recipe, {"denoise": 0.0})
