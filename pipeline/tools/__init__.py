"""Tools that build on extraction, training and evaluation. No tool imports another."""
