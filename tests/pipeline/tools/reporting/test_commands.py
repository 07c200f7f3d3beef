"""The command of a run makes its configuration again."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.extension import Extension
from fdet.pipeline.runs.presets import preset_names
from fdet.pipeline.tools.reporting.commands import assignments, find_caches, reproduction
from fdet.pipeline.tools.reporting.records import read_records

from .made_up import write_run


@pytest.mark.parametrize("preset", preset_names())
def test_the_assignments_make_the_same_configuration(preset):
    config = load_config(Path(preset))
    words = [f"neck.name={config.neck.name}", f"head.name={config.head.name}", *assignments(config)]
    assert load_config(assignments=words) == config


def test_a_shell_reads_the_command_as_it_is_meant(tmp_path):
    run = write_run(tmp_path / "my run", source="finetune", settings=["backbone.train_from=c3"])
    (record,) = read_records([run])
    words = shlex.split(reproduction(record, {}))
    assert words[:4] == ["fdet", "train-heads", "TRAIN.fdet", "--val"]
    assert words[words.index("--out") + 1] == "again/my run"
    assert words[words.index("--source") + 1] == "finetune"
    given = [words[k + 1] for k, word in enumerate(words) if word == "--set"]
    names = {name: words[words.index(f"--{name}") + 1] for name in ("neck", "head")}
    assert load_config(**names, assignments=given).digest == record.info.config.digest


def test_an_extended_run_is_made_by_two_commands(tmp_path):
    run = write_run(tmp_path / "my run", settings=["train.epochs=9"])
    (record,) = read_records([run])
    info = replace(record.info, extensions=(Extension(4, 12),), begun="a" * 64)
    first, second = reproduction(replace(record, info=info), {}).split(" && ")
    assert "--set train.epochs=4" in first and "=9" not in first
    assert second == "fdet train-heads --resume 'again/my run' --set train.epochs=9"


def test_a_second_cache_and_vectors_of_classes_are_in_the_command(tmp_path):
    (record,) = read_records([write_run(tmp_path / "run")])
    data = {
        **record.info.data,
        "second training cache": "e" * 64,
        "second validation cache": "f" * 64,
    }
    record = replace(record, info=replace(record.info, data=data, embedding=8))
    words = shlex.split(reproduction(record, {"f" * 64: Path("my val.fdet")}))
    assert words[words.index("--with") + 1] == "SECOND-TRAINING.fdet"
    assert words[words.index("--val-with") + 1] == "my val.fdet"
    assert words[words.index("--class-embeddings") + 1] == "CLASSES.safetensors"
    data["stage 2"] = "last layer, samplings 1"
    again = replace(record, info=replace(record.info, data=data))
    words = shlex.split(reproduction(again, {}))
    assert words[1] == "retrain-classifier" and "--class-embeddings" not in words
    assert words[words.index("--with") + 1] == "SECOND-TRAINING.fdet"


def test_caches_are_named_where_they_are_found(tmp_path, exact_cache):
    (record,) = read_records([write_run(tmp_path / "run")])
    header_id = CacheHeader.read(exact_cache).id
    data = {
        **record.info.data,
        "training data": f"{header_id} {'b' * 64}",
        "validation data": "none",
    }
    record = replace(record, info=replace(record.info, data=data))
    assert f"fdet train-heads {exact_cache} --out" in reproduction(
        record, find_caches([record.folder], [exact_cache])
    )


def test_caches_beside_the_runs_are_found(tmp_path, exact_cache):
    place = tmp_path / "project" / "work"
    place.mkdir(parents=True)
    (place / "cache.fdet").symlink_to(exact_cache)
    found = find_caches([place / "runs" / "run"])
    assert list(found.values()) == [place / "cache.fdet"]
