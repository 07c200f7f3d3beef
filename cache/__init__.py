"""Cached features: how they reach the disk and come back. Nothing here knows of detection or models."""
