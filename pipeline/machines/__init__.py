"""What computes: devices, this process among others, how it is interrupted, and workers elsewhere.

Workers take tasks that know nothing of each other. One that is lost puts its tasks back; results are small,
since what is large lies on the file system that all share.
"""
