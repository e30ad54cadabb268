"""Parse the raw texts of a file with every format of this package."""

from indexd.image_metadata import formats
from indexd.image_metadata.registry import parse_metadata, registered_readers

__all__ = ["formats", "parse_metadata", "registered_readers"]
