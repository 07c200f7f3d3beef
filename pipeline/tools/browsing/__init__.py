"""A page on the loopback interface to look at a cache: read-only, for one user, for the time of a command."""
