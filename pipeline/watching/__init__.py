"""Who is told of a run while it happens: hooks, trackers, pictures."""
