"""An ablation ends as its trials would alone, whatever happens on the way."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
import torch

from fdet.cache.errors import InputError
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.ablation import run as run_module
from fdet.pipeline.tools.ablation.process import main
from fdet.pipeline.tools.ablation.run import ablate, by_status, estimated, prepared
from fdet.pipeline.tools.ablation.state import NAME, State
from fdet.pipeline.training import auto
from fdet.pipeline.training.loop import Loop
from fdet.pipeline.training.train import train

from ...training.runs import assert_same, lines, tensors

HEADS = "[axes]\nhead = [{name = 'fcos', convs = 1}, {name = 'tal', convs = 1}]\n"
RATES = "[axes]\n'optim.lr' = [1e-3, 2e-3, 3e-3]\n"
# No loss is a number after the first step.
BROKEN = (
    "[axes]\n'optim.lr' = [1e-3, 1e15]\n'optim.name' = ['sgd']\n'schedule.warmup_steps' = [0]\n"
)


def statuses(ready):
    return [ready.state.status(trial) for trial in ready.trials]


def alone(trial, out):
    options = trial.caches.options(out, device="cpu", threads=1)
    train(trial.config, options)
    return out


def test_each_trial_ends_bit_for_bit_as_alone(options, here, tmp_path):
    ready = ablate(options(HEADS))
    assert statuses(ready) == ["finished"] * 2
    assert len(here.jobs) == 2
    for k, trial in enumerate(ready.trials):
        run, own = ready.state.folder(trial), alone(trial, tmp_path / f"alone{k}")
        assert_same(tensors(run), tensors(own))
        assert lines(run, "eval") == lines(own, "eval")


def test_what_is_finished_is_not_run_again_and_a_new_axis_runs_only_what_is_new(options, here):
    ablate(options(RATES))
    assert len(here.jobs) == 3
    ablate(options(RATES))
    assert len(here.jobs) == 3
    grown = options(f"{RATES}'optim.weight_decay' = [1e-4, 1e-3]\n")
    waiting = prepared(grown).waiting
    # The default is 1e-4: three of the six are there.
    assert [trial.config.optim.weight_decay for trial in waiting] == [1e-3] * 3
    ready = ablate(grown)
    assert statuses(ready) == ["finished"] * 6
    assert len(here.jobs) == 6


def test_a_trial_that_fails_is_recorded_and_the_rest_goes_on(options, here):
    ready = ablate(options(BROKEN))
    assert statuses(ready) == ["finished", "failed"]
    entry = ready.state.entries[ready.trials[1].digest]
    assert entry.reason.startswith("the loss is ") and "lower optim.lr" in entry.reason
    assert len(here.jobs) == 2
    again = ablate(options(BROKEN))
    assert len(here.jobs) == 2 and statuses(again) == ["finished", "failed"]
    ablate(options(BROKEN, retry_failed=True))
    assert len(here.jobs) == 3
    assert json.loads(here.jobs[2].read_bytes())["config"]["optim"]["lr"] == 1e15


def test_a_trial_whose_process_was_killed_failed_and_the_others_go_on(options, here):
    here.ends = {1: lambda job: -9}
    ready = ablate(options(RATES))
    assert statuses(ready) == ["finished", "failed", "finished"]
    assert len(here.jobs) == 3
    reason = ready.state.entries[ready.trials[1].digest].reason
    assert reason == "its process was ended by signal 9 (SIGKILL; out of memory?)"


def test_a_bug_in_one_is_told_by_the_last_line_of_its_log(options, here):
    def broken(job):
        job.with_suffix(".log").write_text("Traceback\nRuntimeError: can't allocate memory\n")
        return 1

    here.ends = {0: broken}
    ready = ablate(options("[axes]\n'optim.lr' = [1e-3]"))
    (entry,) = ready.state.entries.values()
    assert entry.status == "failed"
    assert entry.reason.endswith("ended with status 1: RuntimeError: can't allocate memory")
    assert (ready.state.out / entry.log).is_file()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("the disk is gone"), "the disk is gone"),
        (MemoryError("no room for 2 GiB"), "MemoryError: no room for 2 GiB"),
        (torch.OutOfMemoryError("CUDA"), "OutOfMemoryError: CUDA"),
    ],
)
def test_an_error_is_the_reason_of_a_trial_and_ends_no_other(
    error, reason, options, here, monkeypatch
):
    def lost(*run):
        raise error

    monkeypatch.setattr("fdet.pipeline.tools.ablation.process.train", lost)
    ready = ablate(options(RATES))
    assert statuses(ready) == ["failed"] * 3
    assert {e.reason for e in ready.state.entries.values()} == {reason}


@pytest.fixture
def interrupted(options, here, monkeypatch):
    """An ablation of RATES that was left after three steps; nobody wishes to leave any more."""
    plain = Loop._save

    def torn(self):
        plain(self)
        if self.position.step >= 3:
            raise KeyboardInterrupt

    def leaving(job):
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "_save", torn)
            here.stop_requests.append(0.0)
            return main(job)

    here.ends = {0: leaving}
    with pytest.raises(KeyboardInterrupt):
        ablate(options(RATES))
    here.stop_requests.clear()


def test_interrupted_it_goes_on_and_ends_as_undisturbed(interrupted, options, here, tmp_path):
    state = State.read(tmp_path / "out")
    assert {entry.status for entry in state.entries.values()} == {"waiting"}
    ready = ablate(options(RATES))
    assert statuses(ready) == ["finished"] * 3 and len(here.jobs) == 4
    own = alone(ready.trials[0], tmp_path / "alone")
    assert_same(tensors(ready.state.folder(ready.trials[0])), tensors(own))


def test_on_another_machine_a_trial_keeps_what_auto_came_to(interrupted, options, monkeypatch):
    monkeypatch.setattr(auto, "native_precision", lambda device: "bf16")
    ready = ablate(options(RATES))
    assert {trial.config.train.precision for trial in ready.trials} == {"bf16"}
    assert statuses(ready) == ["finished"] * 3
    runs = [RunInfo.read(ready.state.folder(trial)).config for trial in ready.trials]
    assert [run.train.precision for run in runs] == ["fp32", "bf16", "bf16"], "one was begun"


def test_after_a_request_to_stop_no_trial_begins(options, here):
    def leaving(job):
        here.stop_requests.append(0.0)
        return main(job)

    here.ends = {0: leaving}
    with pytest.raises(KeyboardInterrupt):
        ablate(options(RATES))
    assert len(here.jobs) == 1


def test_trials_that_get_nowhere_are_pruned(options, here):
    pytest.importorskip("optuna")
    below = f"{RATES}[pruning]\nname = 'median'\nstartup_trials = 1\n"
    above = "seeds = [0, 1]"
    ready = ablate(options(below, above))
    assert set(statuses(ready)) <= {"finished", "pruned"}
    job = json.loads(here.jobs[0].read_bytes())
    assert job["pruning"]["startup_trials"] == 1
    assert len(job["others"]) == 6


def test_a_dry_run_writes_nothing_and_leaves_out_what_is_finished(options, here, tmp_path):
    own = options(HEADS)
    seconds = estimated(prepared(own), own)
    assert len(seconds) == 2 and min(seconds) > 0
    assert not (tmp_path / "out").exists()
    here.ends = {1: lambda job: -9}
    ablate(own)
    seconds = estimated(prepared(own), own)
    assert seconds == [0.0, 0.0]


def test_an_out_must_be_given(options, tmp_path):
    own = options()
    text = own.plan.read_text().replace('out = "out"\n', "")
    own.plan.write_text(text)
    with pytest.raises(InputError, match="--out: expected in the plan or on the command line"):
        ablate(own)


def test_how_trials_stand_is_said_in_words():
    said = by_status(["finished", "waiting", "failed", "pruned", "finished"])
    assert said == "2 of 5 trials finished, 1 failed, 1 pruned"


def test_of_several_accelerators_each_slot_has_another(options, monkeypatch):
    monkeypatch.setattr(run_module.torch.cuda, "device_count", lambda: 2)
    place = options(device="auto").place
    assert [run_module._on_slot(place, slot).device for slot in range(3)] == [
        *("cuda:0", "cuda:1", "cuda:0")
    ]
    named = options(device="cuda:1").place
    assert run_module._on_slot(named, 0).device == "cuda:1"


def test_jobs_share_threads_and_none_keeps_samples_unasked(options):
    one, two = options(threads=4).place, options(threads=4, jobs=3).place
    assert (one.threads, one.resident, two.threads, two.resident) == (4, "auto", 1, "none")
    assert options(jobs=2, resident="ram").place.resident == "ram"
    with pytest.raises(InputError, match="--jobs: expected at least 1"):
        _ = options(jobs=0).place


@pytest.mark.slow
def test_real_processes_are_asked_once_save_and_go_on(options, warm, tmp_path):
    """Two jobs; Ctrl-C as soon as both train; the same command then finishes."""
    plan = options(
        "[axes]\n'optim.lr' = [1e-3, 2e-3]\n'train.epochs' = [30]\n'train.eval_every' = [30]\n"
    ).plan
    words = [str(warm.python), "-m", "fdet", "ablate", str(plan), "--jobs", "2", "--threads", "2"]
    words += ["--device", "cpu"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    out = tmp_path / "out"
    until = time.monotonic() + 120
    while len(list(out.glob("runs/*/metrics.jsonl"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    first = {e.status for e in State.read(out).entries.values()}
    assert "waiting" in first and not first & {"failed"}, said
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trials finished" in done.stdout


def test_what_another_ablation_noted_before_this_one_held_the_folder_is_kept(
    options, here, monkeypatch
):
    """It ended between this one's look at the folder and its lock."""
    asked = options(RATES)
    original = run_module.only_writer

    def late(out):
        if not (out / NAME).exists():
            other = prepared(asked)
            other.state.note(other.trials[0], "failed", "no number", "")
            other.state.write()
        return original(out)

    monkeypatch.setattr(run_module, "only_writer", late)
    ready = ablate(asked)
    assert statuses(ready) == ["failed", "finished", "finished"]
    assert ready.state.entries[ready.trials[0].digest].reason == "no number"


def test_a_trial_that_was_begun_keeps_its_threads(options, here, monkeypatch):
    """The second of three was; the others come with those of today."""
    before = torch.get_num_threads()
    asked = options(RATES, threads=2)
    trial = prepared(asked).trials[1]
    folder = prepared(asked).state.folder(trial)
    train(trial.config, trial.caches.options(folder, device="cpu", threads=2))
    (folder / "last.safetensors").unlink()
    ready = ablate(replace(asked, threads=1))
    assert statuses(ready) == ["finished"] * 3
    assert [RunInfo.read(ready.state.folder(t)).threads for t in ready.trials] == [1, 2, 1]
    assert [json.loads(job.read_bytes())["place"]["threads"] for job in here.jobs] == [1, 2, 1]
    torch.set_num_threads(before)
