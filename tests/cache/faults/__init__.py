"""Accidents of the cache's writer: a tracer that makes them, a disk that forgets what was not fsynced."""
