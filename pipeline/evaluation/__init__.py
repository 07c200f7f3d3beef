"""The `fdet evaluate` command: what a run detects, and how good that is."""
