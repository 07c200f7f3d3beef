"""A read-only page on the loopback interface that shows a cache to one user while a command runs."""
