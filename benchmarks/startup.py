"""How soon a command says what is wrong with a name, a path or a setting, against `import torch` alone.

    python benchmarks/startup.py

Every round starts each command once, and Python with `import torch`; the ratios are those of a round. Where
other programs run too, CPU time counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

EXTRACT = ["--size", "640", "--out", "no"]
REFUSED = {
    "a setting that does not exist": ["train-heads", "no", "--out", "no", "--set", "optim.lrr=1"],
    "a cache that is not there": ["train-heads", "no", "--out", "no"],
    "a run that is not there": ["evaluate", "no", "no"],
    "annotations that are not there": ["extract", "no.json", *EXTRACT],
    "a backbone that does not exist": [
        *("extract", __file__, "--format", "coco", *EXTRACT, "--backbone", "resnet19"),
    ],
}
COMMANDS = {
    "import torch": (["-c", "import torch"], 0),
    **{name: (["-m", "fdet", *words], 2) for name, words in REFUSED.items()},
    "fdet settings": (["-m", "fdet", "settings"], 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    for command in COMMANDS.values():
        seconds(*command)  # The first start reads the files from the disk.
    took = [[seconds(*command) for command in COMMANDS.values()] for _ in range(rounds)]
    for k, name in enumerate(COMMANDS):
        print(name)
        for side, what in enumerate(("wall", "CPU")):
            middle = statistics.median(of[k][side] for of in took)
            ratios = [of[k][side] / of[0][side] for of in took]
            share = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"    {what:4} {middle:6.2f} s, {share} of torch's")


def seconds(words: list[str], status: int) -> tuple[float, float]:
    """Wall and CPU time of Python with these words, which has to end with that status."""
    started = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *words], **quiet)
    _, ended, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(ended)
    assert process.returncode == status, words
    return wall, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
