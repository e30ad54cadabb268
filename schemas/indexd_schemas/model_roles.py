"""The roles of models in the settings. Imports no pydantic, because the command line reads it at every start."""

ROLES = ("generator", "bge", "clip_l", "clip_g", "clip_h")
