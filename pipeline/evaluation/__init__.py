"""The `fdet evaluate` command: the detections of a run, and how good they are."""
