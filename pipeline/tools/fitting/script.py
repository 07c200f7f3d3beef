"""commands.sh: the commands of all steps that are done, as a script that can be run again.

All but one of them continue where their output is there, or make it again. A training continues only with
--resume.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ....cache.disk.publish import publish_bytes
from .folder import CHECK, EXTRACT_TRAIN, EXTRACT_VAL, PARTS, PREDICTION, TRAINING
from .paths import word_of
from .state import NAME, Done
from .words import command_text

_HEAD = (
    "#!/bin/sh",
    "# The commands that fdet fit ran. They can run again: what they made is made again where it is missing.",
    "# Where it exists, extraction and training continue, or do nothing if they are finished; evaluation,",
    "# pictures and report are made anew. To try other options, copy a command and give it another --out.",
    "set -e",
)
# The steps that may end with exit status 3: something is worth knowing, and the next step can run.
_WITH_REMARKS = (EXTRACT_TRAIN, EXTRACT_VAL, PREDICTION)


def write_script(out: Path, path: Path, folder: str, steps: Mapping[str, Done]) -> None:
    """Write all commands as a script. out: the folder of the fit. folder: the one that they ran in.

    Raises StorageError.
    """
    lines = [*_HEAD, _finding(), *_staying(out, folder), f"cd {shlex.quote(folder)}"]
    lines += _needing(out, steps)
    for name, step in steps.items():
        lines.append(f"{_guarded(name, step)}{_allowed(name, step)}")
    publish_bytes(path, "\n".join([*lines, ""]).encode(), existing="replace")
    path.chmod(0o755)


def _finding() -> str:
    """Return the line that finds fdet: that of the user, or else the one that wrote the script."""
    python = shlex.quote(sys.executable)
    return f'command -v fdet >/dev/null || fdet() {{ {python} -P -m fdet "$@"; }}'


def _staying(out: Path, folder: str) -> list[str]:
    """Return the lines that stop a script which lies in another folder of a fit than it was written for."""
    place = shlex.quote(str(Path(folder, out)))
    return [
        'here=$(dirname "$0")',
        f'if [ -e "$here/{NAME}" ] && ! [ "$here" -ef {place} ]; then',
        f'  echo "$0: the folder of this fit was" {place}"; run the same fdet fit with --out $here, which"'
        ' "writes this script anew" >&2',
        "  exit 2",
        "fi",
    ]


def _needing(out: Path, steps: Mapping[str, Done]) -> Iterator[str]:
    """Yield lines that stop the script where a file is missing that no command in it makes."""
    folder = f"{word_of(out / PARTS)}/"
    words = (word for step in steps.values() for word in step.words if word.startswith(folder))
    for word in dict.fromkeys(words):
        file = shlex.quote(word)
        yield f'test -e {file} || {{ echo {file}": missing; fdet fit makes it again" >&2; exit 2; }}'


def _guarded(name: str, step: Done) -> str:
    """Return a command with what lets it run twice."""
    text = command_text(step.words)
    if name == TRAINING:
        return f"{text} $(test ! -e {_within_out(step, 'run.json')} || echo --resume)"
    return text


def _within_out(step: Done, name: str) -> str:
    """Return the path of a file that a command writes, for the shell."""
    return shlex.quote(f"{step.words[step.words.index('--out') + 1]}/{name}")


def _allowed(name: str, step: Done) -> str:
    """Return what lets the script go on after an exit status that is no failure."""
    # Next time a command may find more or less to remark than it did.
    remarks = name in _WITH_REMARKS or name.startswith(CHECK)
    allowed = sorted({*([step.status] if step.status else []), *([3] if remarks else [])})
    if len(allowed) > 1:
        return f" || case $? in {' | '.join(map(str, allowed))}) ;; *) exit 1 ;; esac"
    return f" || [ $? = {allowed[0]} ]" if allowed else ""
