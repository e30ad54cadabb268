"""Encodes an image and its recipe as PNG. The same image and recipe give the same bytes."""

from __future__ import annotations

import io
import json

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from indexd.generate.output.infotext_writer import format_infotext
from indexd_schemas.recipe import Recipe

# Measured at 1024x1024 on one core: 0.10 s for 2, 0.22 s and 15 % less for 4, 0.36 s for 6: the GPU waits meanwhile.
_COMPRESS_LEVEL = 2

_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def encode_png(image: Image.Image, recipe: Recipe) -> bytes:
    """PNG with the chunks `parameters` (A1111), `indexd` (the recipe as JSON) and XMP (made by a trained algorithm)."""
    chunks = PngInfo()
    chunks.add_text("parameters", _png_safe_text(format_infotext(recipe)))
    chunks.add_itxt("indexd", _png_safe_text(json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False)))
    chunks.add_itxt("XML:com.adobe.xmp", _XMP)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=chunks, compress_level=_COMPRESS_LEVEL)
    return file.getvalue()


def _png_safe_text(text: str) -> str:
    """PNG text ends at a NUL, and half a surrogate pair has no UTF-8."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
