"""The model family SDXL."""

from indexd.generate.sdxl.family import FAMILY

__all__ = ["FAMILY"]
