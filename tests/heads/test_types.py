"""Targets check their own shapes."""

import pytest
import torch

from fdet.heads.types import Targets


def test_targets_of_other_shapes_and_types_are_refused():
    with pytest.raises(ValueError, match=r"boxes: expected \(2, 4\), got \(1, 4\)"):
        Targets(torch.zeros(1, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected int64"):
        Targets(torch.zeros(1, 4), torch.zeros(1))
