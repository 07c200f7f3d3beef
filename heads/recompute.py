"""Recomputation of activations in the backward pass, instead of keeping them until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(part: Callable[..., Any], *inputs: Any) -> Any:
    """Return part(*inputs), keeping only the result of what it computes; the gradients are the same.

    Random numbers that it takes from torch's generators are the same at the recomputation. Running
    statistics are updated the first time only; for that, part must be a module or a method of one.
    """
    return checkpoint(
        part, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _unmoved(part))
    )


@contextmanager
def _unmoved(part: Callable[..., Any]) -> Iterator[None]:
    """Update running statistics in copies within this context, and restore the originals after it.

    Skipping the updates would be a different computation, as torch counts the tensors that are saved for
    the backward pass.
    """
    owner = part if isinstance(part, nn.Module) else getattr(part, "__self__", None)
    modules = owner.modules() if isinstance(owner, nn.Module) else ()
    moving = [m for m in modules if isinstance(m, _BatchNorm) and m.training]
    kept = [dict(m.named_buffers(recurse=False)) for m in moving]
    _set_buffers(moving, [{n: v.clone() for n, v in buffers.items()} for buffers in kept])
    try:
        yield
    finally:
        _set_buffers(moving, kept)


def _set_buffers(modules: Sequence[nn.Module], buffers: Sequence[dict[str, Tensor]]) -> None:
    for module, values in zip(modules, buffers, strict=True):
        for name, value in values.items():
            setattr(module, name, value)
