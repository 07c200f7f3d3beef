"""fdet evaluate: what a run finds, and how good that is."""
