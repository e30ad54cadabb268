"""`mask:` of an inpaint job -> what its recipe says of it: a file with its hash, or a box from the regions of the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from indexd.jobs.admission.input_selection import InputSelector
from indexd.jobs.admission.inputs import InputImage, read_input_image
from indexd.jobs.parsing.validation import FieldError
from indexd.store.protocols import IndexStore
from indexd.store.records import RegionRow
from indexd_schemas.jobs.job import InpaintJob
from indexd_schemas.recipe import MaskRef
from indexd_schemas.validation_messages import quote_value

MASK_PATH = ("mask",)
# A mask may be of another size, but hardly of another shape: what it covers would be somewhere else.
SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ResolvedMask:
    """A mask of one image; `image` is its file, None where it is a box or a region."""

    ref: MaskRef
    image: InputImage | None = None


class MaskResolver:
    """Finds masks."""

    def __init__(self, store: IndexStore, selector: InputSelector, *, has_detectors: bool) -> None:
        """`has_detectors`: the worker can detect regions that the index does not know."""
        self._store = store
        self._selector = selector
        self._has_detectors = has_detectors

    def resolve(self, job: InpaintJob, image: InputImage) -> ResolvedMask:
        """The mask of a job for one of its inputs. Raises FieldError."""
        options = job.mask
        common: dict[str, Any] = {
            "invert": options.invert,
            "blur": job.mask_blur,
            "content": job.masked_content,
            "only_masked": job.only_masked,
            "only_masked_padding": job.only_masked_padding,
        }
        if options.file is not None:
            file = self._file(options.file, image)
            return ResolvedMask(MaskRef(hash=file.content_hash, name=file.name, **common), file)
        box = (
            tuple(options.box) if options.box is not None else self._region(options.region or "", options.index, image)
        )
        ref = MaskRef(region=options.region, index=options.index, box=box, padding=options.padding, **common)
        return ResolvedMask(ref)

    def _file(self, text: str, image: InputImage) -> InputImage:
        mask = read_input_image(self._selector.resolve_path(text, MASK_PATH), MASK_PATH)
        across, down = mask.width * image.height, mask.height * image.width
        if abs(across - down) > SHAPE_TOLERANCE * max(across, down):
            raise FieldError(
                MASK_PATH,
                f"mask: {mask.name} is {mask.width}x{mask.height} and {image.name} is {image.width}x{image.height}; "
                "a mask needs the aspect ratio of its image",
            )
        return mask

    def _region(self, kind: str, index: int, image: InputImage) -> tuple[float, float, float, float] | None:
        """The box of a region that the index knows; None = the worker has to detect it."""
        regions = self._indexed_regions(image)
        of_kind = [row for row in regions if row.region.kind.casefold() == kind.casefold()]
        if index <= len(of_kind):
            return of_kind[index - 1].region.box
        if of_kind:
            count = f"{len(of_kind)} {kind}" if len(of_kind) > 1 else f"one {kind}"
            raise FieldError(("mask", "index"), f"mask.index: {index}, but {image.name} has only {count}")
        if not self._has_detectors:
            raise FieldError(
                ("mask", "region"),
                f"mask.region: no {quote_value(kind)} is known of {image.name}, and there are no detectors that could look "
                "([[faces.detectors]])",
            )
        return None

    def _indexed_regions(self, image: InputImage) -> list[RegionRow]:
        row = self._store.images.get_by_hash(bytes.fromhex(image.content_hash))
        return self._store.faces.of_image(row.id) if row is not None else []
