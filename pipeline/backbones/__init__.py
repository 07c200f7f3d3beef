"""Frozen and trained backbones, and the sources of their weights."""
