"""fdet train-heads: what happens between opened data and a finished run directory."""
