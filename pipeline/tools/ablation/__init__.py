"""fdet ablate: many heads trained on the same caches from one plan, and what each is worth."""
