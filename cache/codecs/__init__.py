"""How a map becomes fewer bytes and comes back. Only `codec` and `ends` import torch."""
