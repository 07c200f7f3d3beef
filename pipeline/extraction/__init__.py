"""The `fdet extract` command: from images through a frozen backbone to a cache."""
