"""The reporting of a run while it happens: hooks, trackers and pictures."""
