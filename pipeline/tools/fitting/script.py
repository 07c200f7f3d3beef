"""commands.sh: the commands of all steps that are done, as a script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from .state import Done
from .words import command_text


def write_script(path: Path, folder: str, steps: Mapping[str, Done]) -> None:
    """Write all commands as a script. folder: the one that they ran in. Raises StorageError."""
    lines = ["#!/bin/sh", "set -e", f"cd {shlex.quote(folder)}"]
    for name, step in steps.items():
        # A check that found nothing to remark may find something next time.
        allowed = step.status or (3 if name.startswith("check") else 0)
        lines.append(f"{command_text(step.words)}{f' || [ $? = {allowed} ]' if allowed else ''}")
    publish_bytes(path, "\n".join([*lines, ""]).encode(), existing="replace")
    path.chmod(0o755)
