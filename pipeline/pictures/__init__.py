"""The drawing of pictures for people."""
