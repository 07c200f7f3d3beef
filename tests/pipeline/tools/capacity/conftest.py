"""The training tests' caches, and runs with a tail on them."""

from ...training.conftest import adapted_tail, live_cache, short_cache, tailed

__all__ = ["adapted_tail", "live_cache", "short_cache", "tailed"]
