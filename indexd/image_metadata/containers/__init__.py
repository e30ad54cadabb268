"""What the file types keep around their pixels: size, number of frames and texts, read without decoding anything."""
