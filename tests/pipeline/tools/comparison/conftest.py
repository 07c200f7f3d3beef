"""The training tests' cache and images."""

from ...training.conftest import images, live_cache

__all__ = ["images", "live_cache"]
