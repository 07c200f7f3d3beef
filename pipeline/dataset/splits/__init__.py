"""The splits of a data set: those that a command names, and those that `fdet dataset split` makes."""
