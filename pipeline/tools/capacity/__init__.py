"""fdet model: the size of a detector, the share of it that is trained, and what a training step keeps."""
