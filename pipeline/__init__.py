"""The runs (extract, train, evaluate, predict), their configuration and the command line."""
