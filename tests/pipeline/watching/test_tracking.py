import importlib
import logging
from itertools import count

import pytest

from fdet.cache.errors import InputError, StorageError
from fdet.pipeline.watching import tracking
from fdet.pipeline.watching.events import Event
from fdet.pipeline.watching.trackers import TRACKERS
from fdet.pipeline.watching.trackers.tracker import tracker_hook
from fdet.pipeline.watching.tracking import GuardedTracker, check_trackers, opened_trackers


class Notebook:
    """A tracker that keeps what it is given, or raises `error` instead."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.given: list[tuple] = []

    def scalars(self, step, values):
        self._take("scalars", step, dict(values))

    def picture(self, step, name, png):
        self._take("picture", step, name, png)

    def close(self, finished):
        self._take("close", finished)

    def _take(self, *what):
        if self.error is not None:
            raise self.error
        self.given.append(what)


@pytest.fixture
def table(monkeypatch) -> dict[str, Notebook]:
    """Two trackers that need no package; filled as they are opened."""
    opened: dict[str, Notebook] = {}

    def opener(name):
        def opened_as(run, parameters, resume):
            opened[name] = Notebook()
            opened[name].given.append(("open", run, parameters, resume))
            return opened[name]

        return opened_as

    table = {name: opener(name) for name in ("json", "csv")}  # names of modules that are there
    monkeypatch.setattr(tracking, "TRACKERS", table)
    return opened


@pytest.fixture
def without_packages(monkeypatch) -> None:
    importing = importlib.import_module

    def refused(name, package=None):
        if name in TRACKERS:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return importing(name, package)

    monkeypatch.setattr(importlib, "import_module", refused)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_not_there_is_one_clear_line(name, without_packages, tmp_path):
    with pytest.raises(InputError, match=rf"pip install 'frozendet\[{name}\]'$") as caught:
        check_trackers([name])
    assert f"--track {name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError), opened_trackers([name], tmp_path, {}, resume=False):
        pass
    assert not any(tmp_path.iterdir())


def test_an_unknown_tracker_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="no such tracker; did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])


def test_trackers_are_open_while_the_block_runs(table, tmp_path):
    names = ["json", "csv", "json"]
    with opened_trackers(names, tmp_path, {"optim": {}}, resume=True) as trackers:
        assert len(trackers) == 2, "each name once"
        for tracker in trackers:
            tracker.scalars(1, {"train/loss": 2.0})
            tracker.picture(1, "pictures/17", b"png")
    for name in ("json", "csv"):
        assert table[name].given == [
            ("open", tmp_path, {"optim": {}}, True),
            ("scalars", 1, {"train/loss": 2.0}),
            ("picture", 1, "pictures/17", b"png"),
            ("close", True),
        ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("no")])
def test_a_run_that_is_cut_short_closes_them_as_such(error, table, tmp_path):
    with (
        pytest.raises(type(error)),
        opened_trackers(["json", "csv"], tmp_path, {}, resume=False),
    ):
        raise error
    assert [table[name].given[-1] for name in ("json", "csv")] == [("close", False)] * 2


def refusing(error):
    def opener(run, parameters, resume):
        raise error

    return opener


def test_one_that_cannot_be_opened_ends_the_run_before_it_starts(table, monkeypatch, tmp_path):
    error = ConnectionError("no route to the server\nand a long story")
    opener = refusing(error)
    monkeypatch.setattr(tracking, "TRACKERS", {**tracking.TRACKERS, "sqlite3": opener})
    with (
        pytest.raises(InputError, match=r"--track sqlite3: .*no route to the server") as caught,
        opened_trackers(["json", "sqlite3"], tmp_path, {}, resume=False),
    ):
        pytest.fail("it was opened")
    assert "long story" not in str(caught.value)
    assert table["json"].given[-1] == ("close", False)


def test_a_full_disk_keeps_its_own_message(monkeypatch, tmp_path):
    opener = refusing(StorageError("cannot write"))
    monkeypatch.setattr(tracking, "TRACKERS", {"json": opener})
    with (
        pytest.raises(StorageError, match=r"^cannot write$"),
        opened_trackers(["json"], tmp_path, {}, resume=False),
    ):
        pytest.fail("it was opened")


def test_a_failing_tracker_is_warned_of_once_and_the_hook_goes_on(caplog):
    clock = count(0, 1000)
    guarded = GuardedTracker("wandb", Notebook(ConnectionError("gone")), lambda: next(clock))
    hook = tracker_hook(guarded)
    with caplog.at_level(logging.WARNING):
        for step in range(20):
            hook(Event({"kind": "train", "step": step, "loss": 1.0}))
        guarded.picture(20, "pictures/17", b"png")
        guarded.close(True)
    (record,) = caplog.records
    assert "wandb failed (gone); the training goes on" in record.getMessage()


def test_a_failing_tracker_takes_a_small_share_of_the_time():
    """A server that answers after 60 seconds that it is not there; a line of the log each second."""
    now, asked = 0.0, 0

    class Slow(Notebook):
        def scalars(self, step, values):
            nonlocal now, asked
            now, asked = now + 60.0, asked + 1
            raise TimeoutError

    guarded = GuardedTracker("mlflow", Slow(), lambda: now)
    while now < 36_000:
        guarded.scalars(1, {})
        now += 1.0
    assert 36_000 / 60 * 0.08 < asked < 36_000 / 60 * 0.1


def test_a_tracker_that_recovers_is_used_again():
    now = 0.0
    notebook = Notebook(ConnectionError())
    guarded = GuardedTracker("wandb", notebook, lambda: now)
    guarded.scalars(1, {})
    notebook.error = None
    guarded.scalars(2, {})
    now += 100.0
    guarded.scalars(3, {})
    assert notebook.given == [("scalars", 3, {})]


def test_closing_is_tried_even_while_it_rests():
    notebook = Notebook(ConnectionError())
    guarded = GuardedTracker("wandb", notebook, lambda: 0.0)
    guarded.scalars(1, {})
    notebook.error = None
    guarded.close(False)
    assert notebook.given == [("close", False)]


def test_ctrl_c_is_no_failure_of_a_tracker():
    with pytest.raises(KeyboardInterrupt):
        GuardedTracker("wandb", Notebook(KeyboardInterrupt())).scalars(1, {})
