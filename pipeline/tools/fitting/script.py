"""commands.sh: the commands of all steps that are done, as a script that can be run again.

All but two of them continue where their output is there, or make it again. A training continues only with
--resume, and a prediction refuses a folder that holds one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from .folder import PREDICTION, TRAINING
from .state import Done
from .words import command_text

_HEAD = (
    "#!/bin/sh",
    "# The commands that fdet fit ran. They can run again: what is missing is made. Where output exists,",
    "# extraction and training continue, or do nothing if they are finished; pictures are kept; evaluation",
    "# and report are made anew. To try other options, copy a command and give it another --out.",
    "set -e",
)


def write_script(path: Path, folder: str, steps: Mapping[str, Done]) -> None:
    """Write all commands as a script. folder: the one that they ran in. Raises StorageError."""
    lines = [*_HEAD, f"cd {shlex.quote(folder)}"]
    for name, step in steps.items():
        lines.append(f"{_guarded(name, step)}{_allowed(name, step)}")
    publish_bytes(path, "\n".join([*lines, ""]).encode(), existing="replace")
    path.chmod(0o755)


def _guarded(name: str, step: Done) -> str:
    """Return a command with what lets it run twice."""
    text = command_text(step.words)
    if name == TRAINING:
        return f"{text} $(test ! -e {_within_out(step, 'run.json')} || echo --resume)"
    if name == PREDICTION:
        return f"test -e {_within_out(step, 'detections.json')} || {text}"
    return text


def _within_out(step: Done, name: str) -> str:
    """Return the path of a file that a command writes, for the shell."""
    return shlex.quote(f"{step.words[step.words.index('--out') + 1]}/{name}")


def _allowed(name: str, step: Done) -> str:
    # A check that found nothing to remark may find something next time.
    allowed = step.status or (3 if name.startswith("check") else 0)
    return f" || [ $? = {allowed} ]" if allowed else ""
