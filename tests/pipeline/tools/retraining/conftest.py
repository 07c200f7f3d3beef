"""The training tests' caches and images."""

from ...training.conftest import adapted_tail, images, live_cache, short_cache, tailed
from ...training.test_long_tail import lvis
from ...training.test_second_cache import caches

__all__ = ["adapted_tail", "caches", "images", "live_cache", "lvis", "short_cache", "tailed"]
