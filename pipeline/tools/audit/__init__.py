"""The `fdet audit` command: objects whose labels are probably wrong, by heads that have not seen them."""
