"""The examination as lines for people."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator

from ....cache.wording import counted
from ...machines.disk import Disk
from .facts import Environment, FoundWeights, Library, Torch

_WIDTH, _INDENT = 80, " " * 10


def text_of(found: Environment) -> str:
    """Return what there is, then what is wrong with it, in lines that a terminal shows whole."""
    return "\n".join(
        textwrap.fill(
            line,
            _WIDTH,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in _lines_of(found)
    )


def _lines_of(found: Environment) -> Iterator[str]:
    system = found.system
    memory = f"{system.memory / 1e9:.3g} GB, {system.memory_available / 1e9:.3g} GB available"
    yield f"fdet      {found.fdet}, {found.folder}"
    yield f"python    {system.python}, {system.executable}"
    yield f"system    {system.platform}"
    yield f"machine   {counted(system.cores, 'core')}, {system.processor}; memory {memory}"
    if system.variables:
        yield f"variables {', '.join(f'{n}={v}' for n, v in system.variables.items())}"
    if found.torch is not None:
        yield from _lines_of_torch(found.torch)
    if found.disk is not None:
        yield f"disk      {_shown_disk(found.disk)}"
    yield from _lines_of_weights(found.weights)
    yield from _lines_of_libraries(found.libraries)
    yield ""
    yield from (f"{problem.level}: {problem.text}" for problem in found.problems)
    if not found.problems:
        yield "nothing is wrong"


def _lines_of_torch(torch: Torch) -> Iterator[str]:
    device = f"device {torch.device}, precision {torch.precision}"
    threads = counted(torch.threads, "thread")
    yield f"torch     {torch.version}, built for {torch.built_for}; {threads}; {device}"
    for number, each in enumerate(torch.accelerators):
        memory = f"{each.memory / 2**30:.3g} GiB"
        yield f"          cuda:{number} {each.name}, {memory}, compute capability {each.capability}"


def _shown_disk(disk: Disk) -> str:
    rates = f"writes {disk.sustained / 1e6:.0f} MB/s, reads {disk.read / 1e6:.0f} MB/s"
    latency = f"{disk.latency * 1e3:.2g} ms for a small read"
    return f"{disk.folder} ({disk.file_system}), {disk.free / 1e9:.4g} GB free; {rates}, {latency}"


def _lines_of_weights(weights: tuple[FoundWeights, ...]) -> Iterator[str]:
    by_source = defaultdict(list)
    for each in weights:
        by_source[each.source].append(each.name)
    shown = [f"{', '.join(names)} ({source})" for source, names in by_source.items()]
    yield f"weights   {'; '.join(shown) or 'none, so a backbone is downloaded when it is first used'}"


def _lines_of_libraries(libraries: tuple[Library, ...]) -> Iterator[str]:
    by_extra = defaultdict(list)
    for each in libraries:
        by_extra[each.extra].append(f"{each.name} {each.version or '-'}")
    yield f"libraries {', '.join(by_extra.pop('', []))}"
    for extra, shown in by_extra.items():
        yield f"          [{extra}] {', '.join(shown)}"
