"""Writes XMP sidecars beside images: rating, tags and note as photo programs read them. indexd never rewrites an image.

A sidecar contains `xmp:Rating`, `dc:subject` (each level of a tag as a keyword), `lr:hierarchicalSubject` (levels parted by `|`,
as Lightroom and digiKam write them) and `dc:description`. See "XMP Specification Part 1" (ISO 16684-1).

It ends in a comment with the hash of the text before it. A sidecar that another program wrote or changed is *foreign*, and
indexd leaves it unchanged: darktable and others keep the editing history of an image in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Literal
from xml.sax.saxutils import escape

from blake3 import blake3

from indexd.errors import IndexdError, NotRegularFile
from indexd.fs.safe_open import open_regular
from indexd.images.sidecar_bytes import SIDECAR_BYTES_MAX

SidecarNaming = Literal["full", "stem"]
XMP_SUFFIX = b".xmp"
XMP_NAMINGS: tuple[SidecarNaming, ...] = ("full", "stem")
SidecarOutcome = Literal["written", "unchanged", "foreign"]
_SIGNATURE_COMMENT = b"<!-- written by indexd, "
_SEPARATOR_IN_NAME = "\N{BROKEN BAR}"


def xmp_sidecar_path(image_path: bytes, naming: SidecarNaming) -> bytes:
    """`x.png.xmp` ("full": no two images share it) or `x.xmp` ("stem": what Lightroom looks for)."""
    return (image_path if naming == "full" else os.path.splitext(image_path)[0]) + XMP_SUFFIX


def render_xmp_sidecar(rating: int | None, tags: Sequence[str], note: str | None) -> bytes:
    """The bytes of a sidecar: the same annotations give the same bytes."""
    levels = {level: None for tag in sorted(tags) for level in tag.split("/")}
    paths = [tag.replace("|", _SEPARATOR_IN_NAME).replace("/", "|") for tag in sorted(tags)]
    rated = f' xmp:Rating="{rating}"' if rating is not None else ""
    body = "".join(
        (
            _rdf_bag("dc:subject", list(levels)),
            _rdf_bag("lr:hierarchicalSubject", paths),
            f'   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_escape_xml(note)}</rdf:li></rdf:Alt></dc:description>\n'
            if note
            else "",
        )
    )
    text = f"""<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="indexd">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"{rated}>
{body}  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()
    return text + _SIGNATURE_COMMENT + blake3(text).hexdigest().encode() + b" -->\n"


def write_xmp_sidecar(path: bytes, content: bytes) -> SidecarOutcome:
    """Write the sidecar unless another program's is there. Raises OSError where the folder refuses.

    Whole or not at all; a sidecar that appears meanwhile is not written over.
    """
    try:
        before: bytes | None = _read_existing(path)
    except FileNotFoundError:
        before = None
    if before == content:
        return "unchanged"
    if before is not None and not is_written_by_indexd(before):
        return "foreign"
    unfinished = path + b".indexd-part"
    try:
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            os.replace(unfinished, path)
            return "written"
        return "written" if _link_if_absent(unfinished, path) else "foreign"
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)


def is_written_by_indexd(content: bytes) -> bool:
    """Whether indexd wrote these bytes and no program changed them since."""
    text, mark, rest = content.rpartition(_SIGNATURE_COMMENT)
    return bool(mark) and rest == blake3(text).hexdigest().encode() + b" -->\n"


def _link_if_absent(unfinished: bytes, path: bytes) -> bool:
    """Give the file its name; False when something has that name by now."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError:
        # FAT, some shares: no hard links. There the short race between looking and renaming remains.
        if os.path.lexists(path):
            return False
        os.replace(unfinished, path)
    return True


def _read_existing(path: bytes) -> bytes:
    """The bytes at `path`. A link, a folder or an unreadable file counts as foreign. Raises FileNotFoundError."""
    try:
        with open_regular(path) as file:
            return file.read(SIDECAR_BYTES_MAX + 1)
    except FileNotFoundError:
        raise
    except (OSError, NotRegularFile, IndexdError):
        return b"?"


def _rdf_bag(name: str, words: Sequence[str]) -> str:
    if not words:
        return ""
    items = "".join(f"<rdf:li>{_escape_xml(word)}</rdf:li>" for word in words)
    return f"   <{name}><rdf:Bag>{items}</rdf:Bag></{name}>\n"


def _escape_xml(text: str) -> str:
    """Escapes a text, and removes the characters that XML 1.0 forbids."""
    plain = "".join(one for one in text if one in "\t\n\r" or (one >= "\x20" and one not in "\ufffe\uffff"))
    return escape(plain.encode("utf-8", "replace").decode())
