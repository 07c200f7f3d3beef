"""The training tests' caches and images."""

from ...training.conftest import images, live_cache, short_cache

__all__ = ["images", "live_cache", "short_cache"]
