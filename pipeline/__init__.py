"""What fdet does: extraction, training, evaluation, prediction and what checks them; the command line."""
