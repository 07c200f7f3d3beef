"""fdet check-equivalence: a cache against the backbone that made it."""
