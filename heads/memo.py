"""A memory for values that depend on a canvas alone: each is computed once, and is no module's state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class Memo(Generic[T]):
    """The values of a function of hashable arguments, kept for the `limit` most recently used arguments.

    Copies and pickles of it are empty, and it is not part of a state dict. Callers must not change a value.
    """

    def __init__(self, make: Callable[..., T], limit: int = 16) -> None:
        self._make, self._limit = make, limit
        self._kept: OrderedDict[tuple[Hashable, ...], T] = OrderedDict()

    def __call__(self, *arguments: Hashable) -> T:
        """Return make(*arguments), computed only where it is not kept."""
        if arguments not in self._kept:
            # A tensor made in inference mode could not be used in training later.
            with torch.inference_mode(False):
                self._kept[arguments] = self._make(*arguments)
        self._kept.move_to_end(arguments)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return self._kept[arguments]

    def __len__(self) -> int:
        """Return the number of values that are kept."""
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}
