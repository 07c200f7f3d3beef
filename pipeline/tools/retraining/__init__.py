"""Stage 2: the last classifier layer of a finished run, trained again for rare classes."""
