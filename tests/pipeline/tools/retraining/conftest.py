"""The training tests' caches and images."""

from ...training.conftest import images, live_cache
from ...training.test_long_tail import lvis
from ...training.test_second_cache import caches

__all__ = ["caches", "images", "live_cache", "lvis"]
