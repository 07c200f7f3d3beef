"""The runs of a comparison as processes: their words and their ends."""

from pathlib import Path

import pytest

from fdet.cache.errors import FdetError, InputError
from fdet.pipeline.tools.comparison.options import CompareOptions
from fdet.pipeline.tools.comparison.runs import (
    RunEnded,
    command,
    keep_conditions,
    planned,
    refuse_other_conditions,
    train,
)


def options(**more):
    paths = {name: Path(name) for name in ("config", "cache", "val", "out", "images")}
    return CompareOptions(**{**paths, "seeds": [0, 5], **more})


def test_seed_after_seed_so_that_all_sources_go_on_together():
    names = [run.folder.as_posix() for run in planned(options(sources=["online", "cached"]))]
    assert names == ["out/online-0", "out/cached-0", "out/online-5", "out/cached-5"]


def words_of(source, **more):
    own = options(sources=[source], seeds=[5], **more)
    return " ".join(command(planned(own)[0], own))


def test_each_source_gets_what_it_takes_and_nothing_that_it_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config").touch()
    more = {"weights": "w.pth", "val_images": Path("others"), "threads": 2}
    more["assignments"] = ["train.epochs=3"]
    said = (
        "train-heads cache --val val --out out/{0}-5 --config config --source {0} --device auto "
        "--set train.epochs=3 --set train.seed=5{1} --threads 2"
    )
    assert words_of("cached", **more) == said.format("cached", "")
    live = said.format("online", "") + " --images images"
    assert words_of("online", **more) == live + " --weights w.pth"
    live = said.format("finetune", "") + " --images images --val-images others"
    assert words_of("finetune", **more) == live + " --weights w.pth"
    whole = ' --set backbone.train_from="" --set backbone.norm="auto"'
    live = said.format("scratch", whole) + " --images images --val-images others"
    assert words_of("scratch", **more) == live
    more["assignments"] = ["backbone.adapters=true"]
    assert "--images images --val-images others --weights w.pth" in words_of("online", **more)


def test_a_run_that_was_begun_is_resumed(tmp_path):
    own = options(out=tmp_path, sources=["cached"], seeds=[5])
    (run,) = planned(own)
    assert (run.begun, run.finished) == (False, False)
    assert "--resume" not in list(command(run, own))
    run.folder.mkdir()
    (run.folder / "run.json").touch()
    assert (run.begun, run.finished) == (True, False)
    assert list(command(run, own))[-1] == "--resume"


def test_other_conditions_are_refused(tmp_path):
    refuse_other_conditions(options(out=tmp_path, threads=2))
    keep_conditions(options(out=tmp_path, threads=1))
    refuse_other_conditions(options(out=tmp_path, threads=1))
    with pytest.raises(InputError, match=r"--threads: .* was begun with 1, now it is 2"):
        refuse_other_conditions(options(out=tmp_path, threads=2))
    with pytest.raises(InputError, match=r"--device: .* was begun with .*, now it is cuda:1"):
        refuse_other_conditions(options(out=tmp_path, threads=1, device="cuda:1"))


@pytest.mark.parametrize("status", [1, 2, 130])
def test_a_run_that_says_why_it_ended_is_not_spoken_for(status):
    own = options()
    with pytest.raises(RunEnded) as ended:
        train(planned(own)[0], own, lambda words: status)
    assert ended.value.status == status


def test_a_run_that_was_killed_is_named():
    own = options()
    with pytest.raises(FdetError, match=r"cached-0 was ended by signal 9 \(SIGKILL; out of memory"):
        train(planned(own)[0], own, lambda words: -9)
