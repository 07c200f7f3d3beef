"""A zoo of heads: finished runs in a folder or an object store, which others begin with or detect with."""
