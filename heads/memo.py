"""What depends on a canvas alone is computed once for each canvas, and is nobody's state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class Memo(Generic[T]):
    """The values of a function of hashable arguments, for the `limit` of them that were asked for last.

    Copies and pickles of it are empty, and it is no part of a state dict. Nobody may change a value.
    """

    def __init__(self, make: Callable[..., T], limit: int = 16) -> None:
        self._make, self._limit = make, limit
        self._kept: OrderedDict[tuple[Hashable, ...], T] = OrderedDict()

    def __call__(self, *arguments: Hashable) -> T:
        """make(*arguments)."""
        if arguments not in self._kept:
            # A tensor that is made in inference mode could not be used in training later.
            with torch.inference_mode(False):
                self._kept[arguments] = self._make(*arguments)
        self._kept.move_to_end(arguments)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return self._kept[arguments]

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}
