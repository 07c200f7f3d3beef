"""The blocks of code of a page in Markdown, and what stands before them about running them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MARK = re.compile(r"<!-- (not run|file): (.+) -->")
COMMAND = re.compile(r"^(fdet|python3?|pip|make|torchrun|srun|source) ", re.MULTILINE)
SHELL = {"bash", ""}


@dataclass(frozen=True)
class Block:
    """language: "" where it is indented. reason: why it is not run. file: where its text belongs."""

    language: str
    text: str
    reason: str = ""
    file: str = ""

    @property
    def is_command(self) -> bool:
        return self.language == "python" or (
            self.language in SHELL and bool(COMMAND.search(self.text))
        )


def blocks(page: str) -> Iterator[Block]:
    """The fenced and the indented blocks of a page, in their order."""
    mark, lines, k = None, page.splitlines(), 0
    while k < len(lines):
        line, start = lines[k], k
        k += 1
        if fence := re.match(r"(```+)(\w*)\s*$", line):
            while lines[k] != fence[1]:
                k += 1
            yield _block(fence[2], lines[start + 1 : k], mark)
            k += 1
        elif line.startswith("    ") and (start == 0 or not lines[start - 1].strip()):
            while k < len(lines) and (lines[k].startswith("    ") or not lines[k].strip()):
                k += 1
            yield _block("", [each[4:] for each in lines[start:k]], mark)
        elif line.strip():
            mark = MARK.fullmatch(line.strip())
            continue
        else:
            continue
        mark = None


def _block(language: str, lines: list[str], mark: re.Match[str] | None) -> Block:
    text = "\n".join(lines).strip("\n") + "\n"
    kind, words = (mark[1], mark[2]) if mark else ("", "")
    return Block(
        language,
        text,
        reason=words if kind == "not run" else "",
        file=words if kind == "file" else "",
    )
