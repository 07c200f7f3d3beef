"""fdet plan: what a cache would take, and whether it pays, before the first feature is kept."""
