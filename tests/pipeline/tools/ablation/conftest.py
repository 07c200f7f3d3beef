"""Plans of a moment, and trials that run in this process."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.tools.ablation import run as run_module
from fdet.pipeline.tools.ablation.options import AblateOptions
from fdet.pipeline.tools.ablation.process import main
from fdet.pipeline.tools.ablation.trials import Opened

BASE = """
[base.neck]
name = "fpn"
channels = 8
max_level = 5
[base.head]
name = "retinanet"
convs = 1
anchor_scales = [4]
[base.train]
batch_size = 4
epochs = 2
"""


@pytest.fixture
def write(tmp_path, exact_cache):
    """Writes PLAN.toml of the tiny base; text: what stands above it and below it."""

    def written(below="", above="", base=BASE):
        path = tmp_path / "plan.toml"
        paths = f'cache = "{exact_cache}"\nval = "{exact_cache}"\nout = "out"\n'
        path.write_text(f"{paths}{above}\n{base}\n{below}\n")
        return path

    return written


@pytest.fixture
def options(write):
    """Of such a plan."""

    def made(below="", above="", **more):
        return AblateOptions(plan=write(below, above), **{"device": "cpu", "threads": 1, **more})

    return made


@pytest.fixture(scope="session")
def opened():
    return Opened(Processes(World(), torch.device("cpu")))


class Here:
    """Takes the place of Children: a trial runs in this process, when it is started.

    ends: instead of `main`, by the number of the start; wishes: as Children's.
    """

    def __init__(self):
        self.jobs, self.stop_requests, self.ends, self._done = [], [], {}, []

    def start(self, words, output):
        assert words[0] == "fdet.pipeline.tools.ablation.process"
        from pathlib import Path

        job = Path(words[1])
        end = self.ends.get(len(self.jobs), main)
        self.jobs.append(job)
        self._done.append(_Process(end(job)))
        return self._done[-1]

    def ended(self):
        done, self._done = self._done, []
        return done


class _Process(SimpleNamespace):
    def __init__(self, status):
        self.returncode = status

    __hash__ = object.__hash__


@pytest.fixture
def here(monkeypatch):
    own = Here()

    @contextmanager
    def children():
        yield own

    monkeypatch.setattr(run_module, "children", children)
    return own
