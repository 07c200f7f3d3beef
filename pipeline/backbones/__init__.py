"""Frozen and trained backbones, and where their weights come from."""
