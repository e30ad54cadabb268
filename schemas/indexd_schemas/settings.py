"""The settings file (TOML) as a typed model: every option with its description and an example.

The commented sample that `indexd init` writes, the table in docs/settings.md and the JSON Schema come from
this module. Precedence: command-line flag, environment (`INDEXD_WATCH__SETTLE_SECONDS=1`), file, default.
"""

from __future__ import annotations

import difflib
import re
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from indexd_schemas.contract import Contract
from indexd_schemas.durations import Duration, TimeOfDay, parse_duration
from indexd_schemas.image_format import ImageFormat
from indexd_schemas.local_paths import LocalPath
from indexd_schemas.model_roles import ROLES

NOTIFY_PLACEHOLDERS = ("job", "id", "state", "images", "folder", "reason")


SuggestionMode = Literal["off", "show", "take"]
"""What becomes of ratings and keywords that other programs stored."""
SuggestionSource = Literal["file", "sidecar"]
"""Where they were read: the source of an attribute."""


class SettingsSection(Contract):
    """A table of the settings file. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PathSettings(SettingsSection):
    """Locations of files. Empty = the standard location of the operating system, or inside --home."""

    inbox: LocalPath = Field(
        "", description="Folder in which indexd looks for job files (YAML).", examples=["~/indexd/inbox"]
    )
    output: LocalPath = Field(
        "",
        description="Folder for images of jobs without `output.folder`. indexd watches it.",
        examples=["~/indexd/output"],
    )
    index: LocalPath = Field(
        "",
        description="The index database. It must not be on a network share.",
        examples=["~/.local/share/indexd/index.db"],
    )
    thumbnails: LocalPath = Field("", description="Folder for thumbnails.", examples=["~/.cache/indexd/thumbnails"])
    templates: LocalPath = Field("", description="Folder of template files.", examples=["~/templates"])
    wildcards: LocalPath = Field(
        "", description="Folder of the lists that `__name__` in templates draws from.", examples=["~/wildcards"]
    )


class RootSettings(SettingsSection):
    """A watched folder of images."""

    path: LocalPath = Field(
        description="The folder to watch. `~` is expanded. On Windows, use UNC paths for shares.",
        examples=["~/ComfyUI/output"],
    )
    mode: Literal["auto", "native", "poll"] = Field(
        "auto",
        description="How indexd notices changes: file system events (native), polling (poll), or whichever works (auto).",
        examples=["auto"],
    )
    include: tuple[str, ...] = Field(
        (),
        description="Globs relative to the folder. When set, indexd indexes only files that match one.",
        examples=[["**/*.png"]],
    )
    exclude: tuple[str, ...] = Field(
        (),
        description="Globs relative to the folder. indexd never indexes files that match one.",
        examples=[["tmp/**"]],
    )
    folder_tags: bool = Field(
        False,
        description="Derive tags from sub-folders: `portraits/red/x.png` matches tag:portraits and tag:portraits/red.",
        examples=[True],
    )


class WatchSettings(SettingsSection):
    """File watching."""

    settle_seconds: float = Field(
        0.5,
        ge=0,
        le=600,
        description="A file is finished after its size and time did not change for this long. Used where the system cannot tell.",
        examples=[0.5],
    )
    reconcile: Duration = Field(
        "1h", description="Interval of the full comparison of every folder with the index.", examples=["1h"]
    )
    poll: Duration = Field("10s", description="Interval of scans in folders without events.", examples=["10s"])
    max_image_mib: int = Field(
        2048,
        ge=1,
        le=1 << 20,
        description="Larger files are not read as images.",
        examples=[2048],
    )
    videos: bool = Field(
        False,
        description="Index MP4, MOV, WebM and MKV files: their metadata, and their first frame where PyAV is installed "
        "(`pip install 'indexd[video]'`).",
        examples=[True],
    )
    sweep: Duration = Field(
        "20s",
        description="Interval of the quick scan that compares only folder times, to find missed events.",
        examples=["20s"],
    )
    photo_annotations: SuggestionMode = Field(
        "show",
        description="Ratings and keywords of other programs, in images and XMP sidecars: off, show them as suggestions, or take"
        " them as rating and tags; your own rating overrules them.",
        examples=["take"],
    )
    ignore: tuple[str, ...] = Field(
        (),
        description="Names or globs to ignore everywhere, in addition to the built-in list.",
        examples=[["*.bak", "Trash"]],
    )


class ModelSettings(SettingsSection):
    """The model of a role. Without `path` and `hub` the role is off: its index tasks wait, everything else works."""

    path: LocalPath = Field("", description="Local file or folder of the model.", examples=["~/models/sdxl-base"])
    hub: str = Field(
        "",
        description="Name on the Hugging Face hub. Only `indexd models pull` downloads it.",
        examples=["BAAI/bge-large-en-v1.5"],
    )
    device: str = Field("auto", description="Device: auto (GPU if there is one), cpu, cuda, cuda:1.", examples=["auto"])
    query_device: str = Field(
        "",
        description="Device that embeds query texts. `cpu` keeps searches off the GPU. Empty = same as `device`.",
        examples=["cpu"],
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16", "fp8"] = Field(
        "auto",
        description=(
            "Number format. auto = half precision on a GPU, float32 on the CPU. "
            "fp8 (generator only) = UNet weights in 8 bits, computed in bfloat16."
        ),
        examples=["auto"],
    )
    keep_alive: Duration = Field(
        "5m",
        description="Time from the last use of the model until it is unloaded: 5m, 0 (at once), never.",
        examples=["5m"],
    )
    query_prefix: str | None = Field(
        None,
        description="Text that precedes each query (bge only). Unset = the model's own.",
        examples=["Represent this sentence for searching relevant passages: "],
    )
    architecture: str = Field(
        "", description="open_clip architecture. Needed when `path` is a bare weights file.", examples=["ViT-H-14"]
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Texts or images in one batch.", examples=[32])


class ModelRoleSettings(SettingsSection):
    """One table a role: [models.generator], [models.bge], [models.clip_l], [models.clip_g], [models.clip_h]."""

    generator: ModelSettings = Field(
        ModelSettings(), description="The generator: a diffusers folder or a single .safetensors file."
    )
    bge: ModelSettings = Field(ModelSettings(), description="Embeds prompts and negative prompts (BGE-large-en-v1.5).")
    clip_l: ModelSettings = Field(
        ModelSettings(), description="Embeds prompts with SDXL's text_encoder. An SDXL diffusers folder."
    )
    clip_g: ModelSettings = Field(
        ModelSettings(), description="Embeds prompts with SDXL's text_encoder_2. An SDXL diffusers folder."
    )
    clip_h: ModelSettings = Field(
        ModelSettings(), description="Embeds images, and texts for comparison with images (OpenCLIP ViT-H/14)."
    )

    @model_validator(mode="after")
    def _fp8_is_for_the_generator(self) -> Self:
        for name in type(self).model_fields:
            if name != "generator" and self.role(name).dtype == "fp8":
                raise ValueError(f"{name}.dtype: only the generator has fp8; choose float16 or bfloat16")
        return self

    def role(self, name: str) -> ModelSettings:
        model: ModelSettings = getattr(self, name)
        return model


StageName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,39}$")]


class LoraRuleSettings(SettingsSection):
    """Limits on LoRAs of one job. The registry states the type of a LoRA (docs/loras.md)."""

    max_count: int = Field(5, ge=0, le=50, description="Maximum number of LoRAs in a job.", examples=[5])
    max_weight_sum: float = Field(3.5, ge=0, le=500, description="Maximum sum of the absolute weights.", examples=[3.5])
    max_character: int = Field(2, ge=0, le=50, description="Maximum number of LoRAs of type character.", examples=[2])
    max_style: int = Field(2, ge=0, le=50, description="Maximum number of LoRAs of type style.", examples=[2])
    max_detail: int = Field(3, ge=0, le=50, description="Maximum number of LoRAs of type detail.", examples=[3])
    max_background: int = Field(1, ge=0, le=50, description="Maximum number of LoRAs of type background.", examples=[1])


class DetectorSettings(SettingsSection):
    """A detector of faces, hands, persons or other regions: an ultralytics model (.pt)."""

    path: LocalPath = Field(description="Local file of the detector.", examples=["~/models/face_yolov8n.pt"])
    kinds: tuple[str, ...] = Field(
        (),
        description="Classes to keep. `class=kind` renames one. Empty = all classes under their own names.",
        examples=[["face", "anime_face=face"]],
    )
    confidence: float = Field(0.4, ge=0.01, le=1, description="Minimum confidence of a detection.", examples=[0.4])
    min_size_px: int = Field(
        32, ge=4, le=4096, description="Minimum length of the shorter side of a region, in pixels.", examples=[32]
    )


class FaceSettings(SettingsSection):
    """Face recognition: detectors find faces, an embedder computes a vector of each. Off without detectors."""

    detectors: tuple[DetectorSettings, ...] = Field(
        (),
        description="Detectors. All of them examine every image, for example one for photographs and one for drawings.",
        examples=[[{"path": "~/models/face_yolov8n.pt"}]],
    )
    embedder: str = Field(
        "clip_h",
        description="The model of face vectors: clip_h, or the name of an installed face embedder (docs/faces.md).",
        examples=["clip_h"],
    )
    embedder_path: LocalPath = Field(
        "", description="Model file or folder of the installed face embedder.", examples=["~/models/identity.onnx"]
    )
    padding: float = Field(
        0.25,
        ge=0,
        le=2,
        description="Margin around a face on each side, as a share of its longer side.",
        examples=[0.25],
    )
    background: Literal["keep", "grey"] = Field(
        "keep", description="What the embedder sees around the face: the image (keep), or grey.", examples=["keep"]
    )
    batch_size: int = Field(16, ge=1, le=1024, description="Images in one batch.", examples=[16])
    keep_alive: Duration = Field(
        "5m", description="Time from the last use of the detectors until they are unloaded.", examples=["5m"]
    )


class GenerateSettings(SettingsSection):
    """Models and limits for jobs."""

    checkpoint_folders: tuple[LocalPath, ...] = Field(
        (), description="Folders with checkpoints for `model:`.", examples=[["~/models/checkpoints"]]
    )
    lora_folders: tuple[LocalPath, ...] = Field(
        (), description="Folders with LoRA files for `loras:`.", examples=[["~/models/loras"]]
    )
    vae_folders: tuple[LocalPath, ...] = Field(
        (), description="Folders with VAE files for `vae:`.", examples=[["~/models/vae"]]
    )
    lora_registry: LocalPath = Field(
        "",
        description="Registry file of LoRA types, weights and trigger words. Empty = `loras.yaml` beside the settings file.",
        examples=["~/models/loras.yaml"],
    )
    embedding_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with SDXL embeddings (textual inversion). A prompt uses one by its file name.",
        examples=[["~/models/embeddings"]],
    )
    upscaler_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with upscaler models for `upscale:` and `hires:`.",
        examples=[["~/models/upscalers"]],
    )
    detector_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with detectors (.pt) for `detail:`, in addition to those of [faces].",
        examples=[["~/models/detectors"]],
    )
    pickle_checkpoints: bool = Field(
        False,
        description="Also load .ckpt, .pt and .pth files. They can contain code; indexd loads only their weights.",
        examples=[False],
    )
    output_format: ImageFormat = Field(
        "png", description="File format of images whose job names none: png, jpeg, webp or avif.", examples=["webp"]
    )
    output_quality: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Quality of output_format. Default: 92 for jpeg, 90 for webp, 80 for avif; png is lossless.",
        examples=[90],
    )
    max_images_per_job: int = Field(
        1000, ge=1, le=100_000, description="Maximum number of images of a job.", examples=[1000]
    )
    max_megapixels: float = Field(
        67.2, gt=0, le=1000, description="Maximum size of an image at any stage, in megapixels.", examples=[67.2]
    )
    threads: int = Field(
        0, ge=0, le=512, description="CPU threads of a worker. 0 = the default of torch.", examples=[0]
    )
    loras: LoraRuleSettings = Field(LoraRuleSettings(), description=LoraRuleSettings.__doc__)


class ScoreSettings(SettingsSection):
    """How jobs score images (`score:`)."""

    aesthetic: LocalPath = Field(
        "",
        description="An aesthetic head over clip_h vectors: a .safetensors file of linear layers (docs/jobs.md).",
        examples=["~/models/aesthetic-vit-h.safetensors"],
    )


class CharacterSettings(SettingsSection):
    """Characters: faces of one person, grouped."""

    threshold: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Minimum cosine similarity for assigning a new face to a character at once.",
        examples=[0.75],
    )
    margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Minimum lead over the next best character. With less, the face waits for the next clustering.",
        examples=[0.05],
    )
    min_faces: int = Field(
        10, ge=2, le=10_000, description="Minimum number of similar faces that form a character.", examples=[10]
    )
    cluster_at: TimeOfDay = Field(
        "04:30",
        description="Local time of the daily clustering of all faces. `never` = only on `indexd characters cluster`.",
        examples=["04:30"],
    )


class ControlSettings(SettingsSection):
    """ControlNets, IP-Adapters and the models that make control maps."""

    folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with ControlNets for `control:` (files or diffusers folders).",
        examples=[["~/models/controlnet"]],
    )
    reference_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with IP-Adapter files for `reference:`, with their image encoders beside them.",
        examples=[["~/models/ipadapter"]],
    )
    image_encoder: LocalPath = Field(
        "",
        description="Image encoder folder for IP-Adapters without one beside them.",
        examples=["~/models/ipadapter/image_encoder"],
    )
    depth_model: LocalPath = Field(
        "",
        description="Model folder for depth maps (transformers, depth estimation).",
        examples=["~/models/depth-anything-small"],
    )
    pose_model: LocalPath = Field(
        "", description="Model file for poses: an ultralytics pose model (.pt).", examples=["~/models/yolo11n-pose.pt"]
    )
    keep_alive: Duration = Field(
        "5m", description="Time from the last use of these models until they are unloaded.", examples=["5m"]
    )
    cache_megabytes: int = Field(
        1024, ge=0, le=1_000_000, description="Maximum size of the cached control maps, in megabytes.", examples=[1024]
    )


class ThumbnailSettings(SettingsSection):
    """Thumbnails of indexed images."""

    size_px: int = Field(384, ge=32, le=2048, description="Length of the longer side in pixels.", examples=[384])


class BackupSettings(SettingsSection):
    """Nightly backups of the index. They omit vectors, which models recompute."""

    folder: LocalPath = Field(
        "",
        description="Folder for backups, preferably on another disk. Empty = `backups` beside the index.",
        examples=["/mnt/nas/indexd"],
    )
    keep_daily: int = Field(
        7, ge=1, le=1000, description="Number of days of which indexd keeps the newest backup.", examples=[7]
    )
    keep_weekly: int = Field(
        4, ge=0, le=1000, description="Number of weeks of which indexd keeps the newest backup.", examples=[4]
    )
    at: TimeOfDay = Field(
        "03:30",
        description="Local time of the nightly backup. `never` = none. The daemon catches up on a missed one.",
        examples=["03:30"],
    )


class ApiSettings(SettingsSection):
    """The HTTP API for the command line and other programs."""

    listen: Literal["auto", "unix", "tcp"] = Field(
        "auto",
        description="auto = a Unix socket where the platform has them, else TCP on loopback with a token file.",
        examples=["auto"],
    )
    address: str = Field(
        "127.0.0.1",
        description='IP address to listen on with `listen = "tcp"`. Any other than loopback needs `allow_remote` and `token_file`.',
        examples=["127.0.0.1"],
    )
    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port. 0 = any free port, which is stored beside the token.",
        examples=[0],
    )
    allow_remote: bool = Field(
        False,
        description="Accept requests of other machines with the token. Requests are not encrypted: use a TLS proxy or a tunnel.",
        examples=[False],
    )
    token_file: LocalPath = Field(
        "",
        description="File with your own token: mode 0600, one line, at least 32 characters. Empty = a new token at each start.",
        examples=["~/.config/indexd/token"],
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Additional Host headers that the TCP server accepts, with the port unless it is 80.",
        examples=[["studio.lan:8420"]],
    )
    requests_per_second: int = Field(
        300,
        ge=1,
        le=100_000,
        description="Rate limit; bursts may be twice as large. The server answers 429 above it.",
        examples=[300],
    )

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        try:
            ip_address(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is not an IP address; write 127.0.0.1, ::1, or an address of this machine"
            ) from None
        return text

    @model_validator(mode="after")
    def _is_protected(self) -> ApiSettings:
        if ip_address(self.address).is_loopback:
            return self
        if self.listen != "tcp":
            raise ValueError(
                f'address {self.address} is only used with `listen = "tcp"`; set that, or leave address out'
            )
        if not self.allow_remote or not self.token_file:
            raise ValueError(
                f"at {self.address} other machines could connect; set both `allow_remote = true` and `token_file`,"
                " or leave address out"
            )
        return self


class NotifySettings(SettingsSection):
    """A command to run when a job ends, for example a desktop message or a mail."""

    command: tuple[str, ...] = Field(
        (),
        description="Program and arguments, run without a shell. {job}, {id}, {state}, {images}, {folder} and {reason} are replaced."
        " Empty = no command.",
        examples=[["notify-send", "indexd", "{job}: {state}, {images} images"]],
    )
    on: tuple[Literal["done", "failed", "cancelled"], ...] = Field(
        ("done", "failed"), description="Final job states that run the command.", examples=[["done", "failed"]]
    )
    time_limit: Duration = Field("30s", description="The daemon kills a command that runs longer.", examples=["30s"])

    @field_validator("command")
    @classmethod
    def _is_known(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if command and not command[0].strip():
            raise ValueError("the program name is empty")
        for part in command:
            if "\0" in part:
                raise ValueError("an argument cannot contain NUL")
            for word in re.findall(r"\{(\w+)\}", part):
                if word not in NOTIFY_PLACEHOLDERS:
                    near = difflib.get_close_matches(word, NOTIFY_PLACEHOLDERS, 1)
                    hint = f"did you mean {{{near[0]}}}?" if near else f"known are {', '.join(NOTIFY_PLACEHOLDERS)}"
                    raise ValueError(f"unknown placeholder {{{word}}}; {hint}")
        if command and re.search(r"\{\w+\}", command[0]):
            raise ValueError("the program name cannot contain a placeholder")
        return command

    @field_validator("time_limit")
    @classmethod
    def _is_a_limit(cls, text: str) -> str:
        if not parse_duration(text):
            raise ValueError("the time limit must be finite and above 0; write 30s")
        return text


class LogSettings(SettingsSection):
    """The daemon's log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level to log.", examples=["INFO"]
    )
    format: Literal["text", "json"] = Field(
        "text",
        description="Sentences (text), or one JSON object a line (json).",
        examples=["json"],
    )
    file: LocalPath = Field(
        "",
        description="Also write the log to this file. Empty = none; on Windows `indexd.log` beside the index.",
        examples=["~/indexd.log"],
    )
    file_mib: int = Field(
        10, ge=1, le=10_000, description="Size in MiB at which the log file is rotated.", examples=[10]
    )
    file_keep: int = Field(5, ge=1, le=100, description="Number of rotated log files to keep.", examples=[5])


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="INDEXD_", env_nested_delimiter="__", defer_build=True
    )

    paths: PathSettings = Field(PathSettings(), description=PathSettings.__doc__)
    roots: tuple[RootSettings, ...] = Field((), description="Watched folders: one [[roots]] table each.")
    watch: WatchSettings = Field(WatchSettings(), description=WatchSettings.__doc__)
    models: ModelRoleSettings = Field(ModelRoleSettings(), description=ModelRoleSettings.__doc__)
    stages: dict[StageName, ModelSettings] = Field(
        {},
        description="Index stages of installed packages: one [stages.NAME] table switches the stage NAME on and names"
        " its model, with the keys of [models.clip_h].",
    )
    faces: FaceSettings = Field(FaceSettings(), description=FaceSettings.__doc__)
    generate: GenerateSettings = Field(GenerateSettings(), description=GenerateSettings.__doc__)
    characters: CharacterSettings = Field(CharacterSettings(), description=CharacterSettings.__doc__)
    control: ControlSettings = Field(ControlSettings(), description=ControlSettings.__doc__)
    score: ScoreSettings = Field(ScoreSettings(), description=ScoreSettings.__doc__)
    thumbnails: ThumbnailSettings = Field(ThumbnailSettings(), description=ThumbnailSettings.__doc__)
    backup: BackupSettings = Field(BackupSettings(), description=BackupSettings.__doc__)
    api: ApiSettings = Field(ApiSettings(), description=ApiSettings.__doc__)
    notify: NotifySettings = Field(NotifySettings(), description=NotifySettings.__doc__)
    log: LogSettings = Field(LogSettings(), description=LogSettings.__doc__)

    @field_validator("stages")
    @classmethod
    def _stage_is_no_role(cls, stages: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name in stages:
            if name in (*ROLES, "faces"):
                raise ValueError(f"{name} is a built-in role; use [models.{name}] or [faces]")
        return stages
