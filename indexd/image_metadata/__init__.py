"""Reads the generation metadata of image files. Imports no other package of indexd; see README.md."""
