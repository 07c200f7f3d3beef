"""What the README shows works as it stands there."""

import re
import runpy
import shutil
import warnings
from pathlib import Path

import fdet

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_example_runs(dataset, tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    for slow, quick in (("size=640", "size=64, workers=0"), ("train.epochs=12", "train.epochs=1")):
        assert slow in program
        program = program.replace(slow, quick)
    shutil.copytree(dataset.parent / "images", tmp_path / "photos")
    shutil.copy(dataset, tmp_path / "train.json")
    (tmp_path / "example.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py", run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 15


def test_the_settings_example_is_a_configuration(tmp_path):
    block = re.search(r"(    \[neck\]\n.*?)\n\n", README, flags=re.DOTALL)
    assert block is not None
    path = tmp_path / "config.toml"
    path.write_text(re.sub(r"^    ", "", block[1], flags=re.MULTILINE))
    assert fdet.load_config(path).train.batch_size == 16


def test_every_public_name_can_be_imported():
    assert sorted(fdet.__all__) == dir(fdet)
    for name in fdet.__all__:
        assert getattr(fdet, name).__doc__, name


def test_the_version_stands_in_one_place():
    from setuptools.config.pyprojecttoml import read_configuration

    root = Path(__file__).parent.parent
    with warnings.catch_warnings(action="ignore"):  # the function calls itself experimental
        project = read_configuration(root / "pyproject.toml")["project"]
    assert project["version"] == fdet.__version__
    others = [root / name for name in ("pyproject.toml", "CITATION.cff", "Makefile")]
    assert not [path for path in others if f'"{fdet.__version__}"' in path.read_text()]
