"""The calls that cross to a worker: plain data in, plain data out.

Nothing here imports torch, and nothing above may assume that the worker shares this process's memory: only numbers,
texts, paths, bytes and arrays cross, so that the same calls can later be served on another machine.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexd.image_metadata.model import ImageFacts, ImageMetadata, RawChunk
from indexd.model_headers.description import ModelDescription
from indexd_schemas.recipe import Recipe
from indexd_schemas.recipe_part import FileKey

FloatVectors = NDArray[np.float32]


class Priority(enum.IntEnum):
    """Lower goes first. URGENT calls also run between the denoising steps of a render."""

    URGENT = 0
    JOB = 10
    BACKGROUND = 20
    BACKGROUND_TEXT = 30


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model fills a role, as the worker needs it.

    `hub` is the hub name whose pulled copy lies at `path` ("" = a path of the user's own). `keep_alive_seconds` None =
    for ever, 0 = leave at once. `query_device` "" = the same as `device`. `query_prefix` None = the model's own.
    `batch_size` is texts or images a call.
    """

    role: str
    path: str
    hub: str = ""
    device: str = "auto"
    query_device: str = ""
    dtype: str = "auto"
    keep_alive_seconds: float | None = 300.0
    query_prefix: str | None = None
    architecture: str = ""
    batch_size: int = 32


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A detector's file, and what is kept of what it finds.

    `kinds` maps its classes (as it names them) to kinds of regions; empty = all of them, under their own names.
    """

    path: str
    kinds: Mapping[str, str] = field(default_factory=dict)
    confidence: float = 0.4
    min_size_px: int = 32


GENERATOR = "generator"
"""The role of the model that renders."""
FACES = "faces"
"""The role that detectors and face embedder fill together."""
CLIP_H = "clip_h"


@dataclass(frozen=True, slots=True)
class FacesSpec:
    """How faces are found and embedded; without `detectors` they are not. The models run on clip_h's device.

    `embedder` is clip_h, or the name of an entry point of other people's packages, which gets `embedder_path`. `padding`
    is put around a face on each side, as a share of its longer side; `background` says what becomes of what is outside.
    """

    detectors: tuple[DetectorSpec, ...] = ()
    embedder: str = CLIP_H
    embedder_path: str = ""
    padding: float = 0.25
    background: Literal["keep", "grey"] = "keep"
    batch_size: int = 16
    keep_alive_seconds: float | None = 300.0


@dataclass(frozen=True, slots=True)
class ControlSpec:
    """Where the models lie that make control maps ("" = none), and how many bytes the cache of maps may take."""

    depth_model: str = ""
    pose_model: str = ""
    image_encoder: str = ""
    keep_alive_seconds: float | None = 300.0
    cache_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings that a worker gets when it starts. `aesthetic` is the file of the aesthetic head ("" = none)."""

    models: Mapping[str, ModelSpec]
    cache_folder: str
    faces: FacesSpec = FacesSpec()
    control: ControlSpec = ControlSpec()
    pickle_checkpoints: bool = False
    max_megapixels: float = 67.2
    aesthetic: str = ""
    threads: int = 0
    log_level: str = "INFO"


MAX_EMBEDDED_TOKENS = 4096
"""So many tokens of a text are embedded, from its start: eight windows of BGE, 55 of CLIP. Full text covers all of it."""


@dataclass(frozen=True, slots=True)
class EmbedText:
    """Embed texts with the model of `role` (bge, clip_l, clip_g, clip_h). `as_query` adds the model's query prefix.

    A longer text is embedded up to MAX_EMBEDDED_TOKENS.
    """

    role: str
    texts: tuple[str, ...]
    as_query: bool = False


@dataclass(frozen=True, slots=True)
class EmbedImages:
    """Embed images (paths as bytes) with the image tower of `role`.

    `pixel_files` has for each image the file of its decoded pixels ("" = none); empty = none at all.
    """

    role: str
    paths: tuple[bytes, ...]
    pixel_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors` is float32 (n, dim), unit length; row i is NaN where `problems` has i. `identity` names the model revision."""

    vectors: FloatVectors
    identity: str
    problems: Mapping[int, str] = field(default_factory=dict)


Box = tuple[float, float, float, float]
"""Left, top, width and height as shares, 0 to 1, of the upright image."""


def intersection_over_union(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


@dataclass(frozen=True, slots=True)
class FoundRegion:
    """Something found in an image: place and size as in Box, how sure the detector is, and how good an image of it this is.

    `size_px` is the shorter side in pixels, `sharpness` and `quality` are those of images/face_crop.py. `row` is the
    place of its vector in the result; None = it has none (only faces have).
    """

    kind: str
    detector: str
    left: float
    top: float
    width: float
    height: float
    confidence: float
    size_px: int
    sharpness: float = 0.0
    quality: float = 0.0
    row: int | None = None

    @property
    def box(self) -> Box:
        """Where it is."""
        return self.left, self.top, self.width, self.height


@dataclass(frozen=True, slots=True)
class FindFaces:
    """Find faces (and what else the detectors find) in images, and embed the faces.

    `known` has for each image the regions that people spoke of: one that is not found again is embedded all the same.
    Without images it only answers which models would do it.
    """

    paths: tuple[bytes, ...]
    known: tuple[tuple[FoundRegion, ...], ...] = ()
    pixel_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FacesFound:
    """`regions` are those of each image, in order; `vectors` float32 (n, dim), unit length, is addressed by their `row`.

    `identity` names what made the vectors, `detectors` what found the regions; `problems` maps the place of an image
    that could not be read to the reason.
    """

    regions: tuple[tuple[FoundRegion, ...], ...]
    vectors: FloatVectors
    identity: str
    detector_identity: str
    problems: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageAttribute:
    """One statement about an image: a caption, a tag, a score. `score` is the model's confidence, None = not given."""

    key: str
    value: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class AnalyseImages:
    """State attributes of images with the model of `role`.

    `function` is the "module:function" that serves the call in the worker, as function(call, session). Without images
    it only answers its identity.
    """

    role: str
    function: str
    paths: tuple[bytes, ...]
    pixel_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImagesAnalysed:
    """The attributes of each image, in order; `problems` maps the place of an image without result to the reason.

    `identity` names the model revision.
    """

    attributes: tuple[tuple[ImageAttribute, ...], ...]
    identity: str
    problems: Mapping[int, str] = field(default_factory=dict)


READ_LANES = ("read-0", "read-1")
"""The lanes whose processes read the headers and the metadata of new images."""
READ_ON_DEMAND_LANE = "read-2"
"""The lane that reads single images for jobs and commands, so that they do not wait behind new images."""


@dataclass(frozen=True, slots=True)
class ReadImages:
    """Read hash, header and metadata of image files (paths), and of the sidecar files beside them.

    `max_bytes`: larger files are refused without being read.
    """

    paths: tuple[bytes, ...]
    lane: str = READ_ON_DEMAND_LANE
    max_bytes: int = 2 << 30
    with_sidecars: bool = True


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """Why a file was not read. `kind`: it is gone, no regular file, no readable image, or the system failed (`errno`)."""

    kind: Literal["missing", "not regular", "unreadable", "system"]
    reason: str
    errno: int = 0


@dataclass(frozen=True, slots=True)
class ImagesRead:
    """One result a file, in order."""

    results: tuple[ImageFacts | ReadFailure, ...]


@dataclass(frozen=True, slots=True)
class StoredTexts:
    """The raw texts of one image as the index keeps them, and what could not be read of its file."""

    chunks: tuple[RawChunk, ...]
    problems: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ParseTexts:
    """Read the metadata of stored texts again, without the files."""

    images: tuple[StoredTexts, ...]
    lane: str = READ_ON_DEMAND_LANE


@dataclass(frozen=True, slots=True)
class TextsParsed:
    """One result an image, in order. The texts themselves (`raw`) do not travel back."""

    metadata: tuple[ImageMetadata, ...]


@dataclass(frozen=True, slots=True)
class DescribeModels:
    """Describe model files, or folders of diffusers, by their headers."""

    paths: tuple[bytes, ...]
    lane: str = READ_ON_DEMAND_LANE


@dataclass(frozen=True, slots=True)
class ModelsDescribed:
    """One result a file, in order; a ReadFailure of kind "system" where this machine is at fault."""

    results: tuple[ModelDescription | ReadFailure, ...]


@dataclass(frozen=True, slots=True)
class MakeThumbnails:
    """Decode each image once: write a thumbnail, compute the perceptual hash, read the text hidden in the pixels.

    `sources` are (path, content hash). The pixels of the places in `keep_pixels` are written to `pixel_folder` as RGB
    (images/pixel_file.py), for the models that take the same images next.
    """

    sources: tuple[tuple[bytes, bytes], ...]
    folder: str
    size_px: int
    pixel_folder: str = ""
    keep_pixels: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ThumbnailsMade:
    """All map a place in `sources`: `problems` to the reason why the image cannot be decoded, `perceptual_hashes` to
    its hash (b"" = too plain to have one), `stealth_texts` to the text hidden in its pixels, `pixel_bytes` to the size
    of the file of its pixels."""

    problems: Mapping[int, str]
    perceptual_hashes: Mapping[int, bytes] = field(default_factory=dict)
    stealth_texts: Mapping[int, str] = field(default_factory=dict)
    pixel_bytes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComparedImage:
    """One side of a comparison: an image of the index, its content, and a file in which that lies now, if any."""

    image_id: int
    content_hash: bytes
    path: bytes | None


@dataclass(frozen=True, slots=True)
class CompareImages:
    """Say of each pair (what lay at a path, what lies there now) whether it is the same image."""

    pairs: tuple[tuple[ComparedImage, ComparedImage], ...]
    folder: str
    size_px: int


@dataclass(frozen=True, slots=True)
class ImagesCompared:
    """One verdict a pair, in order; "unseen old" or "unseen new" where that side has no thumbnail and none can be made."""

    verdicts: tuple[bool | str, ...]


class CopyVerdict(enum.StrEnum):
    """What a comparison of two images found; UNSEEN where neither a file nor a thumbnail of one can be opened."""

    COPY = "copy"
    VARIATION = "variation"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class CopyCandidate:
    """An image that may be a copy of another: its content, format and size, and a file in which it lies now, if any."""

    content_hash: bytes
    format: str
    size: tuple[int, int]
    path: bytes | None


@dataclass(frozen=True, slots=True)
class CompareCopies:
    """Say of each pair of places in `images` whether it is one image in other bytes. `folder` has the thumbnails."""

    images: tuple[CopyCandidate, ...]
    pairs: tuple[tuple[int, int], ...]
    folder: str


@dataclass(frozen=True, slots=True)
class CopiesCompared:
    """One verdict a pair, in order."""

    verdicts: tuple[CopyVerdict, ...]


@dataclass(frozen=True, slots=True)
class ClusterFaces:
    """Group the face vectors in the file `path`: rows of `dim` half-precision numbers, unit length (characters/clustering/vector_file.py).

    By path, because a hundred thousand of 1024 are 205 MB; a worker elsewhere would be sent the file.
    """

    path: str
    dim: int
    min_cluster_size: int = 10


@dataclass(frozen=True, slots=True)
class FacesClustered:
    """The group of each row, int64 (n,), from 0; -1 = none."""

    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MakeControlMap:
    """Turn an image into a control map of `type` (indexd_schemas.control_types). `size` None = the image's own."""

    path: bytes
    type: str
    size: tuple[int, int] | None = None
    low: int = 100
    high: int = 200


@dataclass(frozen=True, slots=True)
class ControlMapMade:
    """The map as a PNG in the cache folder; `method` names what made it, `cached` says that it was there already."""

    path: str
    width: int
    height: int
    method: str
    cached: bool


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file that a call reads: its path on the machine of the worker.

    `hash` is the blake3 of the content in hex; "" means that nobody has read the file yet.
    """

    path: bytes
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Render:
    """Make the image of one recipe. `files` holds every file that `recipe.file_keys()` names."""

    recipe: Recipe
    files: Mapping[FileKey, FileRef] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """The bytes of the finished file, the recipe as the worker completed it (model hash, …), and seconds by stage.

    `notes` are sentences on what a stage found or skipped.
    """

    encoded: bytes
    recipe: Recipe
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFunction:
    """Call `function`, "module:name", as function(call, session) in the worker of `lane`. Its answer is plain data.

    For job kinds of other packages; `arguments` is plain data for the function, `files` what it reads.
    """

    function: str
    lane: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileRef] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifyModel:
    """Load the model of `role` and run it once."""

    role: str


@dataclass(frozen=True, slots=True)
class ModelVerified:
    """`identity` names the revision, `detail` says what was loaded and where (device, dtype, vector length)."""

    identity: str
    detail: str


@dataclass(frozen=True, slots=True)
class CallProgress:
    """How far a call has come: `done` of `total` in `stage` (denoising steps, images)."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class SelfTest:
    """An exercise that needs no model: shows that a worker of `lane` starts, answers, dies and is cancelled as it should.

    "echo" answers `payload`; "steps" goes `steps` interruptible steps of `seconds` each, telling progress; "hang" never
    comes back; "die" ends the process as a crash in native code would; "fail" raises.
    """

    action: Literal["echo", "steps", "hang", "die", "fail"]
    lane: str = "decode"
    payload: Any = None
    steps: int = 1
    seconds: float = 0.0


AnyCall = (
    EmbedText
    | EmbedImages
    | FindFaces
    | AnalyseImages
    | ClusterFaces
    | MakeThumbnails
    | ParseTexts
    | ReadImages
    | DescribeModels
    | CompareImages
    | CompareCopies
    | MakeControlMap
    | Render
    | RunFunction
    | VerifyModel
    | SelfTest
)
