"""A folder is held before anybody looks at what is in it."""

import threading
from dataclasses import replace

import pytest
import torch

from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import InputError, StorageError
from fdet.pipeline.machines.processes import Processes
from fdet.pipeline.machines.world import World
from fdet.pipeline.runs import folder as folder_module
from fdet.pipeline.runs.folder import held_folder, refuse_full
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.training import train as train_module
from fdet.pipeline.training.options import TrainOptions

from .test_checkpoint import INFO


def other_info():
    config = replace(INFO.config, train=replace(INFO.config.train, seed=1))
    return replace(INFO, config=config)


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Takes the run directory for a run, as a training does before its first step."""
    monkeypatch.setattr(train_module, "_needed_files", lambda *given: {})
    options = TrainOptions(cache=tmp_path, out=tmp_path / "run")
    processes = Processes(World(), torch.device("cpu"))
    return lambda info: train_module.held_run(info.config, options, processes, info, None)


def test_of_two_that_begin_at_once_one_is_told(begin, tmp_path, monkeypatch):
    """The second comes when the first has found the folder empty and has written nothing yet."""
    came, done, ended = threading.Event(), threading.Event(), []

    def second():
        try:
            with begin(other_info()) as (stands, _):
                ended.append(stands.digest)
                came.set()
                done.wait(20)
        except StorageError as error:
            ended.append(error)
            came.set()

    thread = threading.Thread(target=second)
    original = folder_module.publish_bytes

    def publishing(path, data, **more):
        if path.name == "run.json" and not thread.ident:
            thread.start()
            assert came.wait(20)
        original(path, data, **more)

    monkeypatch.setattr(folder_module, "publish_bytes", publishing)
    try:
        with begin(INFO) as (stands, _):
            assert stands.digest == RunInfo.read(tmp_path / "run").digest == INFO.digest
    finally:
        done.set()
        thread.join(20)
    (refusal,) = ended
    assert "another fdet process is writing in" in str(refusal)
    assert RunInfo.read(tmp_path / "run").digest == INFO.digest
    assert not list((tmp_path / "run").glob(".*"))


def test_where_another_holds_the_folder_nothing_is_written(begin, tmp_path):
    with only_writer(tmp_path / "run"):
        before = list((tmp_path / "run").iterdir())
        with pytest.raises(StorageError, match="another fdet process"), begin(INFO):
            pass
        assert list((tmp_path / "run").iterdir()) == before


def test_a_run_that_was_refused_leaves_no_folder(begin, tmp_path, monkeypatch):
    def refusing(*given):
        raise InputError("--track: it cannot be opened")

    monkeypatch.setattr(train_module, "_told", refusing)
    with pytest.raises(InputError, match="cannot be opened"), begin(INFO):
        pass
    assert not (tmp_path / "run").exists()


def test_a_held_folder_goes_where_nothing_came_into_it(tmp_path):
    out = tmp_path / "a" / "out"
    with held_folder(out):
        assert out.is_dir()
    assert not out.exists()
    with held_folder(out):
        (out / "found").touch()
    assert [path.name for path in out.iterdir()] == ["found"]


def test_a_folder_that_is_taken_is_refused(tmp_path):
    (tmp_path / "found").touch()
    with pytest.raises(InputError, match="the folder is not empty; choose another"):
        refuse_full(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        refuse_full(tmp_path / "found")


def test_what_a_killed_process_left_is_nothing(begin, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".writer.scratch").touch()
    (run / ".run.json.scratch").touch()
    with begin(INFO):
        assert not (run / ".run.json.scratch").exists()
    assert RunInfo.read(run) == INFO
