"""What is kept is kept within bounds, and by nobody else."""

import copy
import pickle
from functools import partial

import torch

from fdet.heads.memo import Memo


def product(factor: int, x: int) -> torch.Tensor:
    return torch.tensor([float(factor * x)])


def counted():
    calls = []

    def make(x):
        calls.append(x)
        return torch.tensor([2.0 * x])

    return Memo(make, limit=2), calls


def test_a_value_is_made_once_and_the_one_asked_for_longest_ago_goes_first():
    memo, calls = counted()
    assert memo(1) is memo(1)
    memo(2)
    memo(1)
    memo(3)
    assert len(memo) == 2
    assert calls == [1, 2, 3]
    memo(1)
    assert calls == [1, 2, 3]
    assert memo(2).item() == 4
    assert calls == [1, 2, 3, 2]


def test_copies_and_pickles_are_empty_and_work():
    memo = Memo(partial(product, 3))
    memo(5)
    for other in (copy.copy(memo), copy.deepcopy(memo), pickle.loads(pickle.dumps(memo))):
        assert len(other) == 0
        assert other(5).item() == 15
    assert len(memo) == 1


def test_what_is_made_in_inference_mode_can_be_trained_with():
    memo = Memo(partial(product, 3))
    with torch.inference_mode():
        memo(5)
    weight = torch.ones(1, requires_grad=True)
    (memo(5) * weight).sum().backward()
    assert weight.grad.item() == 15
