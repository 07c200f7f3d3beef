"""The documentation; its sources are Markdown, and `make docs` builds a site of them."""
