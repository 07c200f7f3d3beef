"""Many files looked at in threads, with a progress line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ...machines.progress import progress_line

Item = TypeVar("Item")
Result = TypeVar("Result")
_THREADS = 8


def in_threads(
    title: str, function: Callable[[Item], Result], items: Sequence[Item]
) -> list[Result]:
    """Return the function's result for each item.

    Items that have not begun are given up where the caller is interrupted, or the function raises.
    """
    results = []
    with progress_line(title, len(items)) as progress:
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for result in pool.map(function, items):
                results.append(result)
                progress.advance()
        finally:
            pool.shutdown(cancel_futures=True)
    return results
