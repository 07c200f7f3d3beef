"""fdet's own files in a cache, one module each. Nothing in such a file is trusted unchecked."""
