"""fdet model: how large a detector is, what of it is trained, and what a step keeps."""
