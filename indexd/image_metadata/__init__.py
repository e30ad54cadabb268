"""What the texts of a picture say: one reader a format, one registry, one way in.

To add a format: a new file here with a function under `@reads("name", rank=N)`, its name in the import below, its line
in docs/formats.md. Reading again with a newer parser needs the raw texts only, not the files.
"""

from indexd.image_metadata.formats import (
    a1111,
    civitai,
    comfyui,
    draw_things,
    easy_diffusion,
    fooocus,
    hf_space,
    indexd_recipe,
    invokeai,
    koboldcpp,
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
    "civitai",
    "comfyui",
    "draw_things",
    "easy_diffusion",
    "fooocus",
    "hf_space",
    "indexd_recipe",
    "invokeai",
    "koboldcpp",
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
