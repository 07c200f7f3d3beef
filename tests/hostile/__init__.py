"""Caches and inputs made to do harm: a clear error, nothing opened outside, memory and time bounded."""
