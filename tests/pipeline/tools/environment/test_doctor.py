"""`fdet doctor` names what there is and what is wrong, and fails at none of it."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fdet
from fdet.cache.errors import InputError
from fdet.pipeline.cli import app
from fdet.pipeline.machines.disk import Disk
from fdet.pipeline.tools.environment import examine as examining
from fdet.pipeline.tools.environment import software, torches
from fdet.pipeline.tools.environment.examine import examine
from fdet.pipeline.tools.environment.facts import Accelerator, Library, Torch, without_home
from fdet.pipeline.tools.environment.options import DoctorOptions
from fdet.pipeline.tools.environment.text import text_of

GOOD = Disk("/data", "ext4", False, 2**40, 2**28, 1e9, 1e9, 2e9, 1e-4)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A disk of a moment."""
    monkeypatch.setattr(examining, "WRITTEN", 2**20)


def run(*words):
    done = CliRunner().invoke(app, ["doctor", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_json_has_everything_and_the_text_names_it(tmp_path):
    done = run("--folder", tmp_path, "--json", "--device", "cpu")
    found = json.loads(done.stdout)
    assert found["fdet"] == fdet.__version__
    assert found["system"]["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert found["torch"]["device"] == "cpu" and found["torch"]["accelerators"] == []
    assert found["disk"]["sustained"] > 0 and found["disk"]["free"] > 0
    assert "tf_efficientnet_lite0" in [weights["name"] for weights in found["weights"]]
    names = {library["name"] for library in found["libraries"]}
    assert {"torch", "zarr", "optuna"} <= names and "pytest" not in names
    text = run("--folder", tmp_path, "--device", "cpu").stdout
    for said in (found["torch"]["version"], found["system"]["processor"], "[optuna]"):
        assert said in " ".join(text.split())
    too_long = [line for line in text.splitlines() if len(line) > 80 and "/" not in line]
    assert not too_long
    assert list(tmp_path.iterdir()) == []


def test_the_exit_status_is_that_of_the_worst(tmp_path, monkeypatch):
    monkeypatch.setattr(examining, "measure_disk", lambda *_, **__: GOOD)
    assert run("--device", "cpu").exit_code == 0
    monkeypatch.setattr(examining, "measure_disk", lambda *_, **__: replace(GOOD, free=10**6))
    assert run("--device", "cpu").exit_code == 3
    done = run("--device", "mps")
    assert done.exit_code == 2 and "error: --device mps: not usable here" in done.stdout


def test_a_torch_that_cannot_be_imported_is_named(monkeypatch):
    name = "fdet.pipeline.tools.environment"
    monkeypatch.delattr(sys.modules[name], "torches", raising=False)
    monkeypatch.setitem(sys.modules, f"{name}.torches", None)
    found = examine(DoctorOptions())
    assert found.torch is None and found.libraries
    assert any(p.text.startswith("torch cannot be imported: ") for p in found.problems)
    assert "error: torch cannot be imported" in text_of(found)


def test_a_disk_that_refuses_is_named(monkeypatch):
    def refused(*_, **__):
        raise InputError(f"--folder: cannot write in {Path.home()}/x: Permission denied")

    monkeypatch.setattr(examining, "measure_disk", refused)
    found = examine(DoctorOptions(device="cpu"))
    assert found.disk is None
    assert [p.text for p in found.problems if p.level == "error"] == [
        "--folder: cannot write in ~/x: Permission denied"
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"in_memory": True, "file_system": "tmpfs"}, ["/data lies in memory (tmpfs)"]),
        ({"free": 9 * 10**9}, ["/data has 9.0 GB free"]),
        ({"sustained": 15e6}, ["/data writes 15 MB/s"]),
    ],
)
def test_a_disk_that_is_no_place_for_caches(changes, said):
    found = [problem.text for problem in examining.problems_of(replace(GOOD, **changes))]
    assert [text.partition(":")[0] for text in found] == said


def test_libraries_that_are_missing_or_too_old():
    libraries = (
        Library("a", "2.0", ">=1", "", True),
        Library("b", None, ">=1", "", False),
        Library("c", "0.9", ">=1", "", False),
        Library("d", None, ">=1", "extra", False),
        Library("e", "0.9", ">=1", "extra", False),
    )
    assert [(p.level, p.text) for p in software.problems_of(libraries)] == [
        ("error", "b is not installed: `pip install 'b>=1'`"),
        ("error", "c is 0.9, fdet needs >=1: `pip install 'c>=1'`"),
        ("warning", "e is 0.9, fdet needs >=1: `pip install 'e>=1'`"),
    ]


def test_an_installed_distribution_says_what_it_needs(monkeypatch):
    texts = ["numpy>=1.26", "no-such-library>=3", 'obstore>=99; extra == "objects"']
    monkeypatch.setattr(software, "requires", lambda _: [*texts, 'ruff>=1; extra == "test"'])
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    found = {library.name: library for library in software.libraries()}
    assert list(found) == ["no-such-library", "numpy", "obstore"]
    assert found["numpy"].fits and found["numpy"].extra == ""
    assert (found["no-such-library"].version, found["no-such-library"].fits) == (None, False)
    assert (found["obstore"].extra, found["obstore"].wanted) == ("objects", ">=99")


@pytest.mark.parametrize(
    ("built", "said"), [("cpu", "built for CUDA"), ("CUDA 13.0", "nvidia-smi")]
)
def test_a_driver_without_a_gpu_in_torch_is_named(built, said, tmp_path):
    facts = Torch("2.9", built, 1, "cpu", "fp32", ())
    assert not list(torches.problems_of(facts, tmp_path / "none"))
    (problem,) = torches.problems_of(facts, tmp_path)
    assert problem.level == "warning" and said in problem.text
    used = replace(facts, accelerators=(Accelerator("A", 2**30, "9.0"),))
    assert not list(torches.problems_of(used, tmp_path))
    assert "cuda:0 A, 1 GiB, compute capability 9.0" in text_of(
        replace(examine(DoctorOptions(device="cpu")), torch=used)
    )


def test_weights_that_were_downloaded_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torches.torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "models--timm--resnet18.a1_in1k").mkdir()
    (tmp_path / "models--other--text").mkdir()
    (tmp_path / "checkpoints").mkdir()
    for name in ("resnet50.pth", "notes.txt"):
        (tmp_path / "checkpoints" / name).touch()
    found = [asdict(weights) for weights in torches.weights_found()][1:]
    assert found == [
        {"name": "resnet18.a1_in1k", "source": "Hugging Face's cache"},
        {"name": "resnet50.pth", "source": "torch's cache"},
    ]


def test_the_home_folder_is_not_named(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    assert without_home("/home/someone") == "~"
    assert without_home("/home/someone/a b") == "~/a b"
    assert without_home("/home/someone-else/a") == "/home/someone-else/a"
