"""fdet check-equivalence: the comparison of a cache with the backbone that made it."""
