"""Reads the generation metadata of image files. Imports no other package of indexd; see README.md.

To add a format: a file in `formats/` with a function under `@register_reader("name", rank=N)`, its name in the import
below, and a line in docs/formats.md.
"""

from indexd.image_metadata.formats import (
    a1111,
    bare_prompt,
    civitai,
    comfyui,
    draw_things,
    easy_diffusion,
    fooocus,
    hf_space,
    invokeai,
    koboldcpp,
    labelled_text,
    midjourney,
    novelai,
    provenance,
    stability_matrix,
    swarmui,
    tensor_art,
)
from indexd.image_metadata.registry import (
    PARSER_VERSION,
    MetadataTexts,
    parse_metadata,
    register_reader,
    registered_readers,
)

__all__ = [
    "PARSER_VERSION",
    "MetadataTexts",
    "a1111",
    "bare_prompt",
    "civitai",
    "comfyui",
    "draw_things",
    "easy_diffusion",
    "fooocus",
    "hf_space",
    "invokeai",
    "koboldcpp",
    "labelled_text",
    "midjourney",
    "novelai",
    "parse_metadata",
    "provenance",
    "register_reader",
    "registered_readers",
    "stability_matrix",
    "swarmui",
    "tensor_art",
]
