"""A cache that nodes of a cluster have filled is that of one process, whoever is lost on the way."""

import signal
import subprocess
import time

import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.machines.ray_workers import RayWorkers
from fdet.pipeline.machines.workers import Lost

from ...generated import make_dataset
from ..quick import command, quick, records, tree


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory):
    """Of a single process; read only."""
    out = tmp_path_factory.mktemp("alone") / "cache.fdet"
    extract(quick(dataset, out, codec="int5", size=128))
    return out


@pytest.mark.slow
def test_a_node_is_killed_and_one_added_and_the_bytes_are_those_of_one_process(
    dataset, alone, tmp_path, nodes, monkeypatch
):
    out, given, lost = tmp_path / "c", [], []
    give, reports = RayWorkers.give, RayWorkers.reports

    def giving(workers, worker, tasks):
        give(workers, worker, tasks)
        given.append((worker, *tasks))
        if len(given) == 3:  # the header, a shard, and the one that is in hand now
            assert len(records(out)) == 1
            nodes.lose()
            nodes.add()

    def reporting(workers):
        found = reports(workers)
        lost.extend(report for report in found if isinstance(report, Lost))
        return found

    monkeypatch.setattr(RayWorkers, "give", giving)
    monkeypatch.setattr(RayWorkers, "reports", reporting)
    config = quick(dataset, out, codec="int5", size=128, engine="ray", ray_address=nodes.address)
    summary = extract(config)
    # Whoever took the place of the lost one may have begun on the same node, before that was known.
    assert lost and len({report.worker for report in lost}) == len(lost)
    assert len({worker for worker, *_ in given}) == 2
    assert (summary.written, summary.missing, summary.failed) == (24, 0, {})
    assert tree(out) == tree(alone)


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_published_and_another_process_goes_on(tmp_path, nodes, warm):
    many = make_dataset(tmp_path / "many", images=36)
    out, whole = tmp_path / "c", tmp_path / "whole"
    options = {"size": 128, "views": "plain"}
    words = command(many, out, engine="ray", **options, **{"ray-address": nodes.address})
    words = [str(warm.fdet), *map(str, words)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not records(out) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "fdet: interrupted; what was finished is kept" in said and "Traceback" not in said
    there = len(records(out))
    extract(quick(many, whole, **options))
    assert 0 < there < len(records(whole))
    extract(quick(many, out, **options))
    assert tree(out) == tree(whole)
