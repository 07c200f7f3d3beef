"""Random kills, interrupts, damages and full disks over every command that writes, for as long as one likes.

    python -m fdet.tests.signals.campaign --minutes 480 --seed 1

From a checkout. After each attack the same command must finish with the bytes of an undisturbed run, and
every damaged byte must be found. Prints a table of counts; what was lost is named at once, and the exit
status is 1.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fdet.cache.errors import FdetError
from fdet.cache.verify import verify
from fdet.pipeline.machines.interrupt import INTERRUPTED

from ..pipeline.command_server import Commands
from .targets import TARGETS, Ground, Target, assert_free, laid

HANGS_SECONDS = 120.0
# Attacked once it is there, not while it is made.
OF_NO_CACHE = ("rm", "train-heads", "evaluate")
# Results that carry no checksum.
UNSEALED = ("rm", "predict", "audit", "watch")


class Lost(Exception):
    """A promise that was not kept."""


class Campaign:
    """A ground to attack on, and what the undisturbed commands make of it."""

    def __init__(self, folder: Path, commands: Commands, chance: random.Random) -> None:
        self.folder, self.commands, self.chance = folder, commands, chance
        self.ground: Ground = laid(folder / "ground", commands)
        self.expected: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}
        for name, target in TARGETS.items():
            out = folder / "undisturbed"
            target.before(self.ground, out)
            began = time.monotonic()
            status = commands.run(target.words(self.ground, out))
            if status:
                raise SystemExit(f"{name}: exit status {status} without any attack")
            self.seconds[name] = time.monotonic() - began
            self.expected[name] = target.made(out)
            shutil.rmtree(out, ignore_errors=True)

    def begun(self, name: str, out: Path, **how) -> int:
        """The process id of a command that runs from now on."""
        errors = self.folder / "errors"
        errors.unlink(missing_ok=True)
        return self.commands.start(TARGETS[name].words(self.ground, out), errors=errors, **how)

    def ended(self, process: int) -> int:
        """Its exit status; raises Lost for what hangs."""
        deadline = time.monotonic() + HANGS_SECONDS
        while (status := self.commands.ended(process)) is None:
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
                self.commands.wait(process)
                raise Lost(f"still running after {HANGS_SECONDS:.0f} s")
            time.sleep(0.01)
        return status

    def finished(self, name: str, out: Path) -> None:
        """The same command again; raises Lost where it does not end as undisturbed."""
        target: Target = TARGETS[name]
        try:
            assert_free(out)
        except FdetError as error:
            raise Lost(f"a lock is held: {error}") from error
        if name != "rm" or (out.exists() and any(out.iterdir())):
            status = self.commands.run(
                target.finish(self.ground, out), errors=self.folder / "errors"
            )
            if status:
                raise Lost(f"again: exit status {status}: {self.said()}")
        made, expected = target.made(out), self.expected[name]
        made = {file: data for file, data in made.items() if ".aside-" not in file}
        if made != expected:
            others = [k for k in made.keys() | expected.keys() if made.get(k) != expected.get(k)]
            raise Lost(f"other bytes: {sorted(others)}")

    def said(self) -> str:
        """The end of what the command wrote to stderr; "" where it was ended before it could write."""
        path = self.folder / "errors"
        return path.read_text(errors="replace").strip()[-1000:] if path.exists() else ""


def interrupt(campaign: Campaign, name: str, out: Path) -> bool:
    """Ctrl-C, once to ten times."""
    chance = campaign.chance
    slow = chance.choice([0.0, 0.0, 0.02])
    process = campaign.begun(name, out, slow=slow)
    time.sleep(chance.uniform(0, campaign.seconds[name] + 20 * slow))
    for _ in range(chance.choice([1, 1, 2, 2, 10])):
        if campaign.commands.ended(process) is not None:
            campaign.finished(name, out)
            return False
        os.kill(process, signal.SIGINT)
        time.sleep(chance.uniform(0, 0.08))
    status = campaign.ended(process)
    if not (campaign.folder / "errors").exists():  # it came before the command had begun
        campaign.finished(name, out)
        return False
    torn = "Traceback" in campaign.said() and "Exception ignored in" not in campaign.said()
    if status not in (0, INTERRUPTED) or torn:
        raise Lost(f"exit status {status}: {campaign.said()}")
    campaign.finished(name, out)
    return status == INTERRUPTED


def kill(campaign: Campaign, name: str, out: Path) -> bool:
    """SIGKILL."""
    process = campaign.begun(name, out)
    time.sleep(campaign.chance.uniform(0, campaign.seconds[name]))
    if campaign.commands.ended(process) is None:
        os.kill(process, signal.SIGKILL)
        hit = campaign.ended(process) < 0
    else:
        hit = False
    campaign.finished(name, out)
    return hit


def fill(campaign: Campaign, name: str, out: Path) -> bool:
    """No file may grow beyond so many bytes."""
    # What it says goes to a file too, and has to fit.
    limit = int(2 ** campaign.chance.uniform(12, 18))
    status = campaign.ended(campaign.begun(name, out, limit=limit))
    if status not in (0, 2) or "Traceback" in campaign.said():
        raise Lost(f"exit status {status}: {campaign.said()}")
    campaign.finished(name, out)
    return status == 2


def damage(campaign: Campaign, name: str, out: Path) -> bool:
    """A byte of a finished cache, or of a run's weights; data sets and lists have no checksums."""
    if name in UNSEALED or name.startswith("dataset"):
        return False
    if campaign.commands.run(TARGETS[name].words(campaign.ground, out)):
        raise Lost(f"undisturbed: {campaign.said()}")
    path = out / campaign.chance.choice(sorted(TARGETS[name].made(out)))
    raw = bytearray(path.read_bytes())
    if not raw:
        return False
    raw[campaign.chance.randrange(len(raw))] ^= 1 << campaign.chance.randrange(8)
    path.write_bytes(raw)
    if name not in OF_NO_CACHE:
        try:
            found = not verify(out).sound
        except FdetError:
            found = True
    else:
        which = path.stem
        words = ["evaluate", out, campaign.ground.cache, "--device", "cpu", "--checkpoint", which]
        found = campaign.commands.run(words, errors=campaign.folder / "errors") == 2
    if not found:
        raise Lost(f"a flipped bit of {path.relative_to(out)} went unseen")
    return True


ATTACKS: dict[str, Callable[[Campaign, str, Path], bool]] = {
    "interrupt": interrupt,
    "kill": kill,
    "full disk": fill,
    "damage": damage,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, help="one command")
    arguments = parser.parse_args()
    chance, commands = random.Random(arguments.seed), Commands()
    tried: Counter[tuple[str, str]] = Counter()
    hits: Counter[tuple[str, str]] = Counter()
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), commands, chance)
        deadline = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < deadline:
            name = arguments.only or chance.choice(list(TARGETS))
            attack = chance.choice(list(ATTACKS))
            out = Path(folder, "attacked")
            TARGETS[name].before(campaign.ground, out)
            tried[name, attack] += 1
            try:
                hits[name, attack] += ATTACKS[attack](campaign, name, out)
            except Lost as error:
                lost += 1
                said = " | ".join(str(error).splitlines())
                print(f"LOST {attack} of {name}, attack {sum(tried.values())}: {said}", flush=True)
            shutil.rmtree(out, ignore_errors=True)
    commands.close()
    print(f"{'command':24}" + "".join(f"{attack:>16}" for attack in ATTACKS))
    for name in TARGETS:
        counts = (f"{hits[name, attack]}/{tried[name, attack]}" for attack in ATTACKS)
        print(f"{name:24}" + "".join(f"{count:>16}" for count in counts))
    print(f"{sum(tried.values())} attacks, {sum(hits.values())} in time; {lost} promises not kept")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
