"""Where a training step's data come from: the cache, or a backbone in the loop."""
