"""The formats that data sets are written in, for `fdet dataset convert` and `fdet dataset split`."""
