"""fdet predict: backbone + neck + head on image files."""
