"""fdet ablate: many heads on the same caches, from a plan, and what each is worth."""
