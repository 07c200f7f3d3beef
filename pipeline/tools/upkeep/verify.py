"""`fdet cache verify`: the check of a whole cache, with a progress bar."""

from __future__ import annotations

from pathlib import Path

from ....cache.verify import Verification, verify
from ...machines.progress import progress_line


def verify_cache(root: Path) -> Verification:
    """Verify a whole cache with a progress bar. Raises InputError where there is no cache."""
    with progress_line("verify", 0) as progress:

        def advance(done: int, total: int) -> None:
            progress.total = total
            progress.advance(done - progress.done, "MB/s")

        return verify(root, advance)
