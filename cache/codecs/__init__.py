"""The codecs, which turn a map into fewer bytes and back. Only `codec` and `clipping` import torch."""
