"""The machinery that computes: devices, processes and their interruption, and workers on other machines.

Workers take tasks that are independent of each other. The tasks of a lost worker are put back. Results are
small, since large data lie on the file system that all workers share.
"""
