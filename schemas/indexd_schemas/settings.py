"""The settings file (TOML) as a typed model: every option with its description and an example.

The commented sample that `indexd init` writes, the table in docs/settings.md and the JSON Schema are generated from
this module. Order of precedence: command-line flag, environment (`INDEXD_WATCH__SETTLE_SECONDS=1`), file, default.
"""

from __future__ import annotations

import difflib
import re
from ipaddress import ip_address
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from indexd_schemas.contract import Contract
from indexd_schemas.durations import Duration, TimeOfDay, parse_duration
from indexd_schemas.local_paths import LocalPath

NOTIFY_PLACEHOLDERS = ("job", "id", "state", "pictures", "folder", "reason")
ROLES = ("generator", "bge", "clip_l", "clip_g", "clip_h")


class SettingsSection(Contract):
    """A part of the settings; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PathSettings(SettingsSection):
    """Where things live. Empty = the usual place of the system, or inside --home when that is given."""

    inbox: LocalPath = Field(
        "", description="Folder into which job files (YAML) are dropped.", examples=["~/indexd/inbox"]
    )
    output: LocalPath = Field(
        "", description="Folder for pictures of jobs that name no folder; it is watched.", examples=["~/indexd/output"]
    )
    index: LocalPath = Field(
        "", description="The index file. Not on a network share.", examples=["~/.local/share/indexd/index.db"]
    )
    thumbnails: LocalPath = Field("", description="Folder of the thumbnails.", examples=["~/.cache/indexd/thumbnails"])


class RootSettings(SettingsSection):
    """One watched folder of pictures."""

    path: LocalPath = Field(
        description="The folder; `~` is understood. On Windows use UNC paths for shares.", examples=["~/ComfyUI/output"]
    )
    mode: Literal["auto", "native", "poll"] = Field(
        "auto",
        description="How changes are noticed: by events (native), by looking (poll), or whichever works (auto).",
        examples=["auto"],
    )
    include: tuple[str, ...] = Field(
        (), description="Globs, relative to the folder; when given, only these are indexed.", examples=[["**/*.png"]]
    )
    exclude: tuple[str, ...] = Field(
        (), description="Globs, relative to the folder, that are never indexed.", examples=[["tmp/**"]]
    )
    folder_tags: bool = Field(
        False,
        description="Sub-folders count as tags: `portraits/red/x.png` is found by tag:portraits and tag:portraits/red.",
        examples=[True],
    )


class WatchSettings(SettingsSection):
    """How folders are watched."""

    settle_seconds: float = Field(
        0.5,
        ge=0,
        le=600,
        description="A file counts as finished when size and time were still for this long (where the system cannot tell).",
        examples=[0.5],
    )
    reconcile: Duration = Field(
        "1h", description="How often every folder is compared with the index, whatever events said.", examples=["1h"]
    )
    poll: Duration = Field("10s", description="How often a folder without events is looked at.", examples=["10s"])
    sweep: Duration = Field(
        "20s", description="How often folder times alone are compared, to find what events missed.", examples=["20s"]
    )
    ignore: tuple[str, ...] = Field(
        (), description="Names or globs ignored everywhere, besides the built-in ones.", examples=[["*.bak", "Trash"]]
    )


class ModelSettings(SettingsSection):
    """The model that fills a role. Without `path` and `hub` the role is off: its work waits, everything else goes on."""

    path: LocalPath = Field("", description="Local folder or file of the model.", examples=["~/models/sdxl-base"])
    hub: str = Field(
        "", description="Hub name; only `indexd models pull` ever downloads it.", examples=["BAAI/bge-large-en-v1.5"]
    )
    device: str = Field("auto", description="auto (card if there is one), cpu, cuda, cuda:1.", examples=["auto"])
    query_device: str = Field(
        "",
        description="Device for the texts of questions; `cpu` keeps asking away from the card. Empty = same as device.",
        examples=["cpu"],
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="Number format; auto = half precision on a card, float32 on the CPU.", examples=["auto"]
    )
    keep_alive: Duration = Field(
        "5m",
        description="How long the model stays loaded after its last use: 5m, 0 (leave at once), never.",
        examples=["5m"],
    )
    query_prefix: str | None = Field(
        None,
        description="Text put before questions (bge only). Unset = the model's own.",
        examples=["Represent this sentence for searching relevant passages: "],
    )
    architecture: str = Field(
        "", description="open_clip architecture, when path is a bare weights file.", examples=["ViT-H-14"]
    )
    batch_size: int = Field(
        32, ge=1, le=4096, description="How many texts or pictures go to the model at once.", examples=[32]
    )


class ModelRoleSettings(SettingsSection):
    """One table a role: [models.generator], [models.bge], [models.clip_l], [models.clip_g], [models.clip_h]."""

    generator: ModelSettings = Field(
        ModelSettings(), description="The generator: a diffusers folder or a single .safetensors file."
    )
    bge: ModelSettings = Field(ModelSettings(), description="Embeds prompts and negative prompts (BGE-large-en-v1.5).")
    clip_l: ModelSettings = Field(ModelSettings(), description="SDXL's text_encoder; an SDXL diffusers folder.")
    clip_g: ModelSettings = Field(ModelSettings(), description="SDXL's text_encoder_2; an SDXL diffusers folder.")
    clip_h: ModelSettings = Field(
        ModelSettings(), description="Embeds pictures, and words against pictures (OpenCLIP ViT-H/14)."
    )

    def role(self, name: str) -> ModelSettings:
        """The settings of one role."""
        model: ModelSettings = getattr(self, name)
        return model


class LoraRuleSettings(SettingsSection):
    """How LoRAs may be put together; what type a LoRA has says the registry (docs/loras.md)."""

    max_count: int = Field(5, ge=0, le=50, description="So many LoRAs work together at most.", examples=[5])
    max_weight_sum: float = Field(
        3.5, ge=0, le=500, description="What their weights may add up to, without signs.", examples=[3.5]
    )
    max_character: int = Field(2, ge=0, le=50, description="At most so many of type character.", examples=[2])
    max_style: int = Field(2, ge=0, le=50, description="At most so many of type style.", examples=[2])
    max_detail: int = Field(3, ge=0, le=50, description="At most so many of type detail.", examples=[3])
    max_background: int = Field(1, ge=0, le=50, description="At most so many of type background.", examples=[1])


class DetectorSettings(SettingsSection):
    """A model file that finds faces (or hands, persons, …): an ultralytics detector (.pt)."""

    path: LocalPath = Field(description="Local file of the detector.", examples=["~/models/face_yolov8n.pt"])
    kinds: tuple[str, ...] = Field(
        (),
        description="Which of its classes are kept; `class=kind` calls one by another name. Empty = all, as it names them.",
        examples=[["face", "anime_face=face"]],
    )
    confidence: float = Field(
        0.4, ge=0.01, le=1, description="What it is less sure of than this is not kept.", examples=[0.4]
    )
    min_size_px: int = Field(
        32, ge=4, le=4096, description="What is smaller than this (shorter side) is not kept.", examples=[32]
    )


class FaceSettings(SettingsSection):
    """Who is in the picture: detectors find faces, an embedder makes a vector of each. Without detectors this is off."""

    detectors: tuple[DetectorSettings, ...] = Field(
        (),
        description="Several may look at every picture: one for photographs, one for drawings.",
        examples=[[{"path": "~/models/face_yolov8n.pt"}]],
    )
    embedder: str = Field(
        "clip_h",
        description="What makes the vectors: clip_h, or the name of an installed face embedder (see docs/faces.md).",
        examples=["clip_h"],
    )
    embedder_path: LocalPath = Field(
        "", description="Model file or folder for an installed face embedder.", examples=["~/models/identity.onnx"]
    )
    padding: float = Field(
        0.25, ge=0, le=2, description="Room around a face on each side, as a share of its longer side.", examples=[0.25]
    )
    background: Literal["keep", "grey"] = Field(
        "keep", description="What lies around the face: kept in the vector, or painted grey.", examples=["keep"]
    )
    batch_size: int = Field(16, ge=1, le=1024, description="How many pictures are looked at at once.", examples=[16])
    keep_alive: Duration = Field(
        "5m", description="How long the detectors stay loaded after their last use.", examples=["5m"]
    )


class GenerateSettings(SettingsSection):
    """What jobs may use."""

    checkpoint_folders: tuple[LocalPath, ...] = Field(
        (), description="Folders with checkpoints that jobs name under `model:`.", examples=[["~/models/checkpoints"]]
    )
    lora_folders: tuple[LocalPath, ...] = Field(
        (), description="Folders with LoRA files that jobs name under `loras:`.", examples=[["~/models/loras"]]
    )
    vae_folders: tuple[LocalPath, ...] = Field(
        (), description="Folders with VAE files that jobs name under `vae:`.", examples=[["~/models/vae"]]
    )
    lora_registry: LocalPath = Field(
        "",
        description="What is known of LoRAs (types, weights, trigger words). Empty = `loras.yaml` beside the settings.",
        examples=["~/models/loras.yaml"],
    )
    embedding_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with SDXL embeddings (textual inversion) that prompts name by their file names.",
        examples=[["~/models/embeddings"]],
    )
    upscaler_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with upscaler models that jobs name under `upscale:` and `hires:`.",
        examples=[["~/models/upscalers"]],
    )
    detector_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with detectors (.pt) that jobs name under `detail:`, besides those of [faces].",
        examples=[["~/models/detectors"]],
    )
    pickle_checkpoints: bool = Field(
        False,
        description="Also load .ckpt/.pt/.pth files (they can carry code; loaded with weights only).",
        examples=[False],
    )
    max_pictures_per_job: int = Field(
        1000, ge=1, le=100_000, description="A job that asks for more is refused.", examples=[1000]
    )
    max_megapixels: float = Field(
        67.2, gt=0, le=1000, description="A picture larger than this is refused.", examples=[67.2]
    )
    threads: int = Field(
        0, ge=0, le=512, description="CPU threads of a worker; 0 = the library's own choice.", examples=[0]
    )
    loras: LoraRuleSettings = Field(LoraRuleSettings(), description=LoraRuleSettings.__doc__)


class ScoreSettings(SettingsSection):
    """How jobs judge pictures (`score:`)."""

    aesthetic: LocalPath = Field(
        "",
        description="A head over the picture vectors of clip_h: a .safetensors file of linear layers (docs/jobs.md).",
        examples=["~/models/aesthetic-vit-h.safetensors"],
    )


class CharacterSettings(SettingsSection):
    """Faces put together: who is in the pictures."""

    threshold: float = Field(
        0.75,
        ge=0,
        le=1,
        description="How near (cosine) a new face must be to a character to be given to it at once.",
        examples=[0.75],
    )
    margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="How much nearer than to any other character; else it is left for the next clustering.",
        examples=[0.05],
    )
    min_faces: int = Field(
        10, ge=2, le=10_000, description="So many faces that belong together are a character.", examples=[10]
    )
    cluster_at: TimeOfDay = Field(
        "04:30",
        description="When all faces are clustered anew, in local time; `never` = only by `indexd characters cluster`.",
        examples=["04:30"],
    )


class ControlSettings(SettingsSection):
    """What steers pictures beside words: ControlNets, pictures as references, and the models that make control maps."""

    folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with ControlNets that jobs name under `control:` (files, or folders of diffusers).",
        examples=[["~/models/controlnet"]],
    )
    reference_folders: tuple[LocalPath, ...] = Field(
        (),
        description="Folders with IP-Adapter files that jobs name under `reference:`, image encoders beside them.",
        examples=[["~/models/ipadapter"]],
    )
    image_encoder: LocalPath = Field(
        "",
        description="Folder of the image encoder of IP-Adapters that have none beside them.",
        examples=["~/models/ipadapter/image_encoder"],
    )
    depth_model: LocalPath = Field(
        "",
        description="Folder of the model that makes depth maps (transformers, depth estimation).",
        examples=["~/models/depth-anything-small"],
    )
    pose_model: LocalPath = Field(
        "", description="Model that finds poses: an ultralytics pose file (.pt).", examples=["~/models/yolo11n-pose.pt"]
    )
    keep_alive: Duration = Field(
        "5m", description="How long these models stay loaded after their last use.", examples=["5m"]
    )
    cache_megabytes: int = Field(
        1024, ge=0, le=1_000_000, description="Room for control maps in the cache folder.", examples=[1024]
    )


class ThumbnailSettings(SettingsSection):
    """Small pictures kept beside the index."""

    size_px: int = Field(384, ge=32, le=2048, description="Longest side in pixels.", examples=[384])


class BackupSettings(SettingsSection):
    """Backups of the index, made by the daemon while it runs: everything but vectors, which models make again."""

    folder: LocalPath = Field(
        "",
        description="Folder of the backups; best on another disk. Empty = `backups` beside the index.",
        examples=["/mnt/nas/indexd"],
    )
    keep_daily: int = Field(7, ge=1, le=1000, description="Of so many days the newest backup is kept.", examples=[7])
    keep_weekly: int = Field(4, ge=0, le=1000, description="Of so many weeks the newest backup is kept.", examples=[4])
    at: TimeOfDay = Field(
        "03:30",
        description="When the nightly backup is made, in local time; `never` = not at all. One that was missed is made up for.",
        examples=["03:30"],
    )


class ApiSettings(SettingsSection):
    """The local door for the command line and other programs."""

    listen: Literal["auto", "unix", "tcp"] = Field(
        "auto",
        description="auto = a Unix socket where there are any, else loopback with a token file.",
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
        description="TCP port; 0 = any free one, written beside the token.",
        examples=[0],
    )
    allow_remote: bool = Field(
        False,
        description="Other machines may ask, with the token. What they send is not encrypted: put a TLS proxy or a tunnel before it.",
        examples=[False],
    )
    token_file: LocalPath = Field(
        "",
        description="File with a token of your own, mode 0600, one line of 32 characters or more. Empty = a new token at each start.",
        examples=["~/.config/indexd/token"],
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Further names (Host) to which the TCP door answers, with the port where it is not 80.",
        examples=[["studio.lan:8420"]],
    )
    requests_per_second: int = Field(
        300,
        ge=1,
        le=100_000,
        description="More is answered with 429; twice as many may come at once.",
        examples=[300],
    )

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        try:
            ip_address(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is no IP address; write 127.0.0.1, ::1, or an address of this machine"
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
                f"at {self.address} other machines could come in; set both `allow_remote = true` and `token_file`,"
                " or leave address out"
            )
        return self


class NotifySettings(SettingsSection):
    """A command that is run when a job ends: a message, a sound, a mail."""

    command: tuple[str, ...] = Field(
        (),
        description="Program and arguments, run without a shell; {job}, {id}, {state}, {pictures}, {folder}, {reason} are filled in."
        " Empty = nothing is run.",
        examples=[["notify-send", "indexd", "{job}: {state}, {pictures} pictures"]],
    )
    on: tuple[Literal["done", "failed", "cancelled"], ...] = Field(
        ("done", "failed"), description="Ends of jobs that are told.", examples=[["done", "failed"]]
    )
    time_limit: Duration = Field("30s", description="A command that takes longer is ended.", examples=["30s"])

    @field_validator("command")
    @classmethod
    def _is_known(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if command and not command[0].strip():
            raise ValueError("the first part is the program; it is empty")
        for part in command:
            if "\0" in part:
                raise ValueError("a NUL cannot be handed to a program")
            for word in re.findall(r"\{(\w+)\}", part):
                if word not in NOTIFY_PLACEHOLDERS:
                    near = difflib.get_close_matches(word, NOTIFY_PLACEHOLDERS, 1)
                    hint = f"did you mean {{{near[0]}}}" if near else f"there are {', '.join(NOTIFY_PLACEHOLDERS)}"
                    raise ValueError(f"there is no {{{word}}}; {hint}")
        if command and re.search(r"\{\w+\}", command[0]):
            raise ValueError("the program itself is named as it is, without {}")
        return command

    @field_validator("time_limit")
    @classmethod
    def _is_a_limit(cls, text: str) -> str:
        if not parse_duration(text):
            raise ValueError("a command needs some time, and an end; write 30s")
        return text


class LogSettings(SettingsSection):
    """What the daemon says."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="How much is said.", examples=["INFO"]
    )
    format: Literal["text", "json"] = Field(
        "text",
        description="Sentences for a person (text), or one JSON object a line for a collector.",
        examples=["json"],
    )
    file: LocalPath = Field(
        "",
        description="Write the log to this file as well. Empty = none, but on Windows `indexd.log` beside the index.",
        examples=["~/indexd.log"],
    )
    file_mib: int = Field(10, ge=1, le=10_000, description="A log file of this size (MiB) is set aside.", examples=[10])
    file_keep: int = Field(5, ge=1, le=100, description="So many log files that were set aside are kept.", examples=[5])


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="INDEXD_", env_nested_delimiter="__", defer_build=True
    )

    paths: PathSettings = Field(PathSettings(), description=PathSettings.__doc__)
    roots: tuple[RootSettings, ...] = Field((), description="The watched folders: one [[roots]] table each.")
    watch: WatchSettings = Field(WatchSettings(), description=WatchSettings.__doc__)
    models: ModelRoleSettings = Field(ModelRoleSettings(), description=ModelRoleSettings.__doc__)
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
