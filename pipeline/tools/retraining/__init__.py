"""Stage 2: the last classifier layer of a finished run is retrained for rare classes."""
