"""Node graphs of ComfyUI: the settings of an image, traced back from the node that saved it."""
