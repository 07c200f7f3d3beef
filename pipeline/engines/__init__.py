"""Who does the work: this process, or workers on the nodes of a Ray cluster.

What is to be done comes in pieces that know nothing of each other. A worker that is lost puts its pieces
back; results are small, since what is large lies on the file system that all share.
"""
