"""fdet plan: what a cache would take, and whether it pays, before any feature is stored."""
