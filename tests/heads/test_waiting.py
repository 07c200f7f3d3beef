"""Dense losses never wait for the device: nothing in them hangs on a value that only it knows."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fdet.heads.build import build_detector
from fdet.heads.dense import DENSE_HEADS
from fdet.heads.necks import NECKS

from .reference import SPEC, batch, is_tensor

WAITING = (
    "nonzero",
    "_local_scalar_dense",
    "masked_select",
    "unique",
    "repeat_interleave",
    "equal",
)


class Waits(TorchDispatchMode):
    """Names of the operations whose result has a size or a place on the host that values decide."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        picks = "index" in name and any(
            is_tensor(x) and x.dtype == torch.bool for x in tree_leaves(args[1:2])
        )
        if name.startswith(WAITING) or picks:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def test_what_waits_is_seen():
    x = torch.arange(3.0)
    with Waits() as waits:
        x[x > 1].sum().item()
        torch.where(x > 1)
    assert len(waits.names) == 3


@pytest.mark.parametrize("ignored", [0, 2])
@pytest.mark.parametrize("head", DENSE_HEADS)
def test_dense_losses_and_their_gradients_wait_for_nothing(head, ignored):
    torch.manual_seed(0)
    neck = NECKS["fpn"].settings(channels=16)
    detector = build_detector(SPEC, 3, neck, DENSE_HEADS[head].settings())
    maps, placements, targets, seeds = batch(3)
    regions = torch.tensor([[20.0, 20.0, 90.0, 100.0]]).expand(ignored, 4)
    given = maps, placements, [replace(t, ignored=regions) for t in targets], seeds
    detector.losses(*given)  # What depends on the canvas alone is made here.
    with Waits() as waits:
        sum(detector.losses(*given).values()).mean().backward()
    assert waits.names == []
