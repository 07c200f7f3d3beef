"""fdet extract: images -> frozen backbone -> a cache."""
