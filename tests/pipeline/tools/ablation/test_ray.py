"""An ablation on a cluster has the table of one on this machine, whoever is lost on the way."""

import shutil

import pytest

from fdet.pipeline.machines.ray_workers import RayWorkers
from fdet.pipeline.machines.workers import Lost
from fdet.pipeline.tools.ablation.run import ablate

from ...training.runs import assert_same, lines, tensors

PLAN = "[axes]\n'optim.lr' = [1e-3, 2e-3]\n'train.epochs' = [6]\n'train.eval_every' = [1]\n"
PLAN += "'train.precision' = ['fp32']\n"
# What the clock and the machine say.
TIMES = {"seconds", "images_per_second", "waiting", "process_mb", "device_mb"}


def told(ready):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in ready.rows()]


@pytest.mark.slow
def test_a_node_is_killed_and_one_added_and_the_table_is_that_of_one_machine(
    options, nodes, here, monkeypatch, tmp_path
):
    lost = []
    reports = RayWorkers.reports

    def reporting(crew):
        found = reports(crew)
        lost.extend(report for report in found if isinstance(report, Lost))
        halfway = len(list((tmp_path / "out").glob("runs/*/last.safetensors"))) == 1
        if halfway and len(killed) == 0:
            killed.append(True)
            nodes.lose()
            nodes.add()
        return found

    killed = []
    monkeypatch.setattr(RayWorkers, "reports", reporting)
    ready = ablate(options(PLAN, engine="ray", ray_address=nodes.address))
    # Whoever took the place of the lost one may have begun on the same node, before that was known.
    assert lost and len({report.worker for report in lost}) == len(lost) and not here.jobs
    own = [ready.state.folder(trial) for trial in ready.trials]
    table = told(ready)
    for folder in own:
        shutil.copytree(folder, tmp_path / "ray" / folder.name)
    shutil.rmtree(tmp_path / "out")
    assert told(ablate(options(PLAN))) == table and len(here.jobs) == 2
    for folder in own:
        on_ray = tmp_path / "ray" / folder.name
        assert_same(tensors(folder), tensors(on_ray))
        assert lines(folder, "eval") == lines(on_ray, "eval")
