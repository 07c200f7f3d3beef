"""Activations that are computed again in the backward pass instead of being kept until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.checkpoint import checkpoint


def recomputed(part: Callable[..., Any], *inputs: Any) -> Any:
    """part(*inputs): of what it computes only the result is kept; its gradients are the same.

    What it draws from torch's generators is drawn again. It must not keep running statistics.
    """
    return checkpoint(part, *inputs, use_reentrant=False)
