"""The work of fdet: extraction, training, evaluation, tools built on them, and the command line."""
