"""What --weights names, and what is said of what is not there."""

from pathlib import Path

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.backbones.weights_option import absolute, check_file, file_and_name


def test_a_name_within_a_file_follows_a_mark(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a#b.pth").touch()
    assert file_and_name("x.pth") == (Path("x.pth"), None)
    assert file_and_name("x.pth#model.ema") == (Path("x.pth"), "model.ema")
    assert file_and_name("a#b.pth") == (Path("a#b.pth"), None)
    assert file_and_name("a#b.pth#ema") == (Path("a#b.pth"), "ema")
    assert file_and_name("#x") == (Path("#x"), None)


def test_an_absolute_option_names_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.pth").touch()
    assert absolute("a.pth") == str(tmp_path / "a.pth")
    assert absolute("a.pth#ema") == f"{tmp_path / 'a.pth'}#ema"
    assert absolute("random") == "random"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("resnt18.pth", "no such file; did you mean 'resnet18.pth'?"),
        ("resnt18.pth#ema", "--weights resnt18.pth: no such file; did you mean 'resnet18.pth'?"),
        ("zzz", "--weights zzz: no such file"),
        ("pretrained", "no such file; for the library's own weights leave --weights out"),
        ("https://host/resnet18.pth", "no such file; expected a file on this machine, so download"),
        ("snapshot", "it is a folder; expected a file, such as snapshot/model.safetensors"),
        ("empty", "it is a folder; expected a file"),
        ("x" * 5000, "name too long"),
        ("resnet18.pth/x.pth", "no such file"),
    ],
)
def test_what_is_no_file_is_said_with_what_may_be_meant(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("resnet18.pth").touch()
    Path("empty").mkdir()
    Path("snapshot").mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (Path("snapshot") / name).touch()
    with pytest.raises(InputError) as caught:
        check_file(given)
    assert said.lower() in str(caught.value).lower()
    assert check_file("resnet18.pth#x") == Path("resnet18.pth")


def test_the_option_is_called_as_the_command_calls_it(tmp_path):
    with pytest.raises(InputError, match=r"^--backbone-weights .*: no such file$"):
        check_file(str(tmp_path / "a.pth"), "--backbone-weights")
