"""A small library in a real index: pictures with metadata and with vectors whose neighbours are known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image

from indexd.fs.file_stamp import FileStamp
from indexd.image_metadata.model import ImageFacts, ImageMetadata, MetadataLora, RawChunk
from indexd.store.records import ScannedFile
from indexd.store.sqlite.store import SqliteStore

DIM = 16
SUBJECTS = ("cat", "dog", "house", "sea")
SampleVector = NDArray[np.float32]


def normalize(vector: NDArray[np.floating]) -> SampleVector:
    """The vector at unit length."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def subject_vector(subject: str) -> SampleVector:
    """What a toy model answers for a subject: its own axis on top of what all pictures share (a narrow cone)."""
    vector = np.full(DIM, 0.5)
    vector[SUBJECTS.index(subject)] += 3.0
    return normalize(vector)


@dataclass
class SampleLibrary:
    """The index and what was put into it."""

    store: SqliteStore
    root: Path
    root_id: int
    ids: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        name: str,
        metadata: ImageMetadata | None = None,
        *,
        size: tuple[int, int] = (64, 64),
        stages: Sequence[str] = (),
    ) -> int:
        """A picture of one colour on disk and in the index; the colour follows from the name."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(blake3(os.fsencode(name)).digest()[:3])
        Image.new("RGB", size, colour).save(path)
        content = path.read_bytes()
        facts = ImageFacts(blake3(content).digest(), len(content), "PNG", *size, 1, metadata or ImageMetadata())
        sighting = ScannedFile(
            self.root_id, os.fsencode(name), FileStamp.from_stat(path.stat()), facts, stages=tuple(stages)
        )
        image_id = self.store.images.ingest([sighting], 1_760_000_000.0 + len(self.ids))[0].image_id
        assert image_id is not None
        self.ids[name] = image_id
        return image_id

    def embed(self, layer: str, vectors: dict[str, SampleVector], of: str = "image", identity: str = "toy") -> None:
        """Vectors by picture name."""
        revision = self.store.vectors.activate(layer, identity, DIM, of)  # type: ignore[arg-type]
        self.store.vectors.put(layer, revision, [self.ids[name] for name in vectors], np.stack(list(vectors.values())))

    def path(self, name: str) -> str:
        """The path of a picture as text."""
        return str(self.root / name)


def make_library(store: SqliteStore, root: Path, images_per_subject: int = 5) -> SampleLibrary:
    """`each` pictures a subject: prompted with it, looking like it, with models, LoRAs, seeds, steps that differ."""
    root.mkdir(parents=True, exist_ok=True)
    library = SampleLibrary(store, root, store.roots.ensure(os.fsencode(root), "images").id)
    chance = np.random.default_rng(7)
    looks, prompts = {}, {}
    for subject in SUBJECTS:
        for number in range(images_per_subject):
            name = f"{subject}s/{subject}-{number}.png"
            library.add(
                name,
                ImageMetadata(
                    generator="a1111",
                    prompt=f"a {subject} number {number}, oil painting",
                    negative_prompt="blurry",
                    seed=str(2**64 - 1 - number) if subject == "sea" else str(100 + number),
                    steps=20 + 10 * number,
                    cfg=5.0 + number / 2,
                    sampler="DPM++ 2M",
                    model_name="ponyXL" if subject in ("cat", "dog") else "juggernaut",
                    loras=(MetadataLora("my lora", 0.8),) if number == 0 else (),
                    created_at=1_767_000_000.0 + 86_400 * number,
                    created_from="exif:DateTimeOriginal",
                    extras=(("Clip skip", "2"),),
                    raw=(RawChunk("png:parameters", "utf-8", f"a {subject}\nhttps://x.example/a.png?sig=SECRET"),),
                ),
            )
            looks[name] = normalize(subject_vector(subject) + chance.normal(scale=0.05, size=DIM))
            prompts[name] = normalize(subject_vector(subject) + chance.normal(scale=0.05, size=DIM))
    library.embed("clip_h", looks)
    library.embed("bge_prompt", prompts, of="prompt")
    return library
