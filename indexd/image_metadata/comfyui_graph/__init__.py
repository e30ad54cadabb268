"""ComfyUI's node graphs: what made the picture, traced back from the node that saved it."""
