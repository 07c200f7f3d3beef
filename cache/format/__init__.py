"""fdet's own files in a cache, one module each. Nothing that a file says is believed unchecked."""
