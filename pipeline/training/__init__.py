"""The `fdet train-heads` command: what happens between opened data and a finished run directory."""
