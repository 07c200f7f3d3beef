"""The codecs, which turn a map into fewer bytes and back.

Only `blocks`, `clipping` and `codec` import torch.
"""
