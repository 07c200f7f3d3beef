"""fdet doctor: what fdet runs on here, and what is wrong with it."""
