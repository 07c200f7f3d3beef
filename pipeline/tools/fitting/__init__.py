"""`fdet fit`: from any data set to a detector in one command, by running the other commands."""
