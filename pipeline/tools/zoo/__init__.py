"""The `fdet zoo` commands: what a zoo of heads holds, what is added to it, and how it is exchanged."""
