"""A run of a moment, and heads of the folds that are trained in this process."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.tools.audit import training
from fdet.pipeline.tools.audit.audit import audit
from fdet.pipeline.tools.audit.options import AuditOptions
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ...training.conftest import adapted_tail, live_cache, short_cache, tailed

__all__ = ["adapted_tail", "live_cache", "short_cache", "tailed"]


@pytest.fixture(scope="session")
def audited_run(exact_cache, tmp_path_factory):
    """A run of three classes with its settings; read only."""
    out = tmp_path_factory.mktemp("audited") / "run"
    config = load_config(
        head="retinanet",
        assignments=["neck.channels=8", "neck.max_level=5", "head.convs=1", "train.epochs=2"],
    )
    train(config, TrainOptions(cache=exact_cache, out=out, threads=1))
    return out


class Process(SimpleNamespace):
    """A process that has ended."""

    __hash__ = object.__hash__


class Here:
    """Takes the place of Children: a command runs in this process, when it is started.

    ends: what happens instead, by the number of the start: a status, or a line of the log.
    """

    def __init__(self):
        self.commands, self.stop_requests, self.ends, self._done = [], [], {}, []

    def start(self, words, log):
        assert words[0] == "fdet"
        end = self.ends.get(len(self.commands))
        self.commands.append(words[1:])
        if end is None:
            done = CliRunner().invoke(app, words[1:])
            log.write_text(done.stderr)
            status = done.exit_code
        elif isinstance(end, str):
            log.write_text(f"{end}\n\n")
            status = 2
        else:
            log.write_text("")
            status = end
        self._done.append(Process(returncode=status))
        return self._done[-1]

    def ended(self):
        done, self._done = self._done, []
        return done


@pytest.fixture
def here(monkeypatch):
    own = Here()

    @contextmanager
    def children():
        yield own

    monkeypatch.setattr(training, "children", children)
    return own


QUICK = {"folds": 2, "device": "cpu", "threads": 1}


@pytest.fixture(scope="session")
def finished(audited_run, exact_cache, dataset, tmp_path_factory):
    """The folder of an audit with everything in its list, and its results; read only."""
    out = tmp_path_factory.mktemp("audit") / "out"
    own = Here()

    @contextmanager
    def children():
        yield own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "children", children)
        options = AuditOptions(**QUICK, above=0, top=20, images=dataset.parent / "images")
        results = audit(audited_run, exact_cache, out, options)
    return out, results
