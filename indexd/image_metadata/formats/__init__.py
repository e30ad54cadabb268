"""The metadata formats; importing this package registers them. Modules without a reader help the others.

The format of indexd itself is in `indexd/images/recipe_reader.py`, because it needs the recipe schema.

To add a format: a module with a function under `@register_reader("name", rank=N)`, its name in the import below, and a
line in docs/formats.md.
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

__all__ = [
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
    "provenance",
    "stability_matrix",
    "swarmui",
    "tensor_art",
]
