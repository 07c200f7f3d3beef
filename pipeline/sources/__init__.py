"""The sources of a training step's data: the cache, or a backbone in the loop."""
