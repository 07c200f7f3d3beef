"""Weights files are read by what is in them, and every other file gets one line that says what it is."""

import argparse
import bz2
import gzip
import io
import json
import lzma
import pickle
import shlex
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from fdet.cache.errors import InputError
from fdet.pipeline.backbones.weights_file import digest, read_sets, read_tensors, reason


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"a.weight": torch.rand(2, 3, generator=generator), "a.bias": torch.zeros(2)}


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


OLD = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".pth.tar", ""])
@pytest.mark.parametrize("raw", [save(tensors()), saved(tensors()), saved(tensors(), **OLD)])
def test_the_suffix_does_not_matter(suffix, raw, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(raw)
    assert digest(read_tensors(path)) == digest(tensors())


def test_every_state_dict_of_a_checkpoint_is_found_and_the_usual_one_comes_first(tmp_path):
    content = {
        "epoch": 3,
        "ema": {"state_dict": tensors(1), "decay": 0.9},
        "state_dict": {"model": tensors(2)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}},
    }
    torch.save(content, tmp_path / "a.pth")
    sets = read_sets(tmp_path / "a.pth")
    assert list(sets) == ["state_dict.model", "ema.state_dict", "optimizer.state.0"]
    assert digest(sets["state_dict.model"]) == digest(tensors(2))
    assert digest(sets["ema.state_dict"]) == digest(tensors(1))
    assert read_tensors(tmp_path / "a.pth").keys() == tensors().keys()


def test_one_dictionary_under_two_names_and_within_itself_is_read_once(tmp_path):
    own = tensors()
    content = {"first": own, "model": own, "more": {}}
    content["more"]["model"] = content
    torch.save(content, tmp_path / "a.pth")
    assert list(read_sets(tmp_path / "a.pth")) == ["model"]


def test_tensors_of_other_kinds_matter_in_the_usual_set_alone(tmp_path):
    odd = {**tensors(), "b": torch.zeros(3, dtype=torch.complex64)}
    torch.save({"model": tensors(), "ema": odd}, tmp_path / "a.pth")
    assert read_sets(tmp_path / "a.pth")["ema"].keys() == tensors().keys()
    torch.save({"model": odd}, tmp_path / "b.pth")
    with pytest.raises(InputError, match="'b': expected a plain tensor of real numbers"):
        read_sets(tmp_path / "b.pth")


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, raw in members.items():
            file.writestr(name.replace("__", "."), raw)
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        info = tarfile.TarInfo("a.pth")
        info.size = 3
        file.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46830571\n"
WRONG = {
    "empty": (b"", "it is empty; copy or download it again"),
    "lfs": (LFS, "it is a Git LFS pointer in place of the file; fetch it with `git lfs pull`"),
    "html": (b"\n<!DOCTYPE html><html><head>", "it is a web page; download the file itself"),
    "html without a type": (b"<html lang='en'>", "it is a web page"),
    "xml": (b'<?xml version="1.0"?><Error>', "it is XML, such as a server's error"),
    "gzip": (gzip.compress(saved(tensors())), "it is compressed by gzip; unpack it"),
    "bzip2": (bz2.compress(saved(tensors())), "it is compressed by bzip2; unpack it"),
    "xz": (lzma.compress(saved(tensors())), "it is compressed by xz; unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(9), "it is compressed by zstd; unpack it"),
    "zip": (archive(a__pth=saved(tensors())), "it is a ZIP archive (a.pth); unpack it"),
    "npz": (npz(), "it is an archive of NumPy and not of PyTorch"),
    "npy": (b"\x93NUMPY\x01\x00", "it is an array of NumPy and not of PyTorch"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "it is HDF5, as Keras writes it, and not of PyTorch"),
    "json": (b'{"weight_map": {}}', "it is JSON, such as a configuration, or the index of weights"),
    "tar": (tar(), "it is a tar archive; unpack it with tar xf"),
    "cut": (saved(tensors())[:600], "it ends too early; copy or download it again"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_weights_file_is_said_in_one_line(name, suffix, tmp_path):
    raw, said = WRONG[name]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"--weights {path}: cannot be read safely, expected tensors only ")
    assert said in message and "\n" not in message


def test_a_file_of_another_program_is_known_by_its_suffix(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(InputError, match="it is an ONNX model and not tensors of PyTorch"):
        read_tensors(tmp_path / "a.onnx")


class Config:
    """An object of a program's own."""


def net():
    return torch.nn.Sequential(torch.nn.Linear(3, 2))


OBJECTS = {
    "a namespace": (lambda: {"state_dict": tensors(), "args": argparse.Namespace(lr=1)}, ("argp",)),
    "a number of numpy": (
        lambda: {"epoch": 1, "model": tensors(), "best": np.float64(1)},
        ("num",),
    ),
    "a path": (lambda: {"net": tensors(), "path": Path("x")}, ("pathlib", "Path")),
    "tensors beside an object": (lambda: {**tensors(), "config": Config()}, ("Config",)),
    "a model": (net, ("torch.nn.modules.container.Sequential",)),
    "a model within": (lambda: {"epoch": 1, "model": net()}, ("Sequential",)),
    "an optimiser first": (
        lambda: {"optimizer": {"a": tensors()}, "x": Config(), "model": tensors()},
        ("Config",),
    ),
}


@pytest.mark.parametrize("options", [{}, OLD, {"pickle_protocol": 4}], ids=["new", "old", "fourth"])
@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_named_with_the_line_that_saves_tensors_alone(
    name, options, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    make, objects = OBJECTS[name]
    torch.save(make(), "my 'own'.pth", **options)
    with pytest.raises(InputError) as caught:
        read_tensors(Path("my 'own'.pth"))
    message = str(caught.value)
    assert "\n" not in message and "objects besides tensors (" in message
    assert all(each in message for each in objects)
    program, flag, line = shlex.split(message[message.index("python -c") :])
    assert (program, flag) == ("python", "-c")
    exec(line, {})
    found = read_tensors(Path("my 'own'-tensors.pth"))
    assert [tuple(v.shape) for v in found.values()] == [(2, 3), (2,)]


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_torchscript_program_is_named_with_the_line_that_saves_its_tensors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.jit.save(torch.jit.script(net()), "a.pt")
    with pytest.raises(InputError, match="it is a TorchScript program") as caught:
        read_tensors(Path("a.pt"))
    *_, line = shlex.split(str(caught.value)[str(caught.value).index("python -c") :])
    exec(line, {})
    assert list(read_tensors(Path("a-tensors.pth"))) == ["0.weight", "0.bias"]


def test_nothing_of_a_file_is_executed_to_say_what_is_in_it(tmp_path):
    class Opens:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    for options in ({}, OLD, {"pickle_protocol": 4}):
        torch.save({"model": tensors(), "x": Opens()}, tmp_path / "a.pth", **options)
        with pytest.raises(
            InputError, match=r"objects besides tensors \((io|_io|builtins)\.open\)"
        ):
            read_tensors(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Opens()))
    with pytest.raises(InputError, match=r"objects besides tensors"):
        read_tensors(tmp_path / "b.pth")
    assert not (tmp_path / "executed").exists()


def test_a_header_of_safetensors_that_is_cut_is_refused(tmp_path):
    raw = save(tensors())
    for length in range(0, len(raw), 7):
        (tmp_path / "a.pth").write_bytes(raw[:length])
        with pytest.raises(InputError, match="cannot be read safely"):
            read_tensors(tmp_path / "a.pth")


def test_metadata_of_safetensors_is_no_tensor(tmp_path):
    save_file(tensors(), tmp_path / "a.bin", metadata={"format": "pt", "x": json.dumps([1])})
    assert read_tensors(tmp_path / "a.bin").keys() == tensors().keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first line\nmore", "first line"),
        ("", "ValueError"),
        ("word " * 100, ("word " * 32).strip() + " ..."),
        ("Weights only load failed.\n WeightsUnpickler error: Unsupported operand 149\nx", "Unsu"),
    ],
)
def test_the_reason_of_an_error_is_one_line_of_whole_words(text, said):
    assert reason(ValueError(text)).startswith(said)
    assert "\n" not in reason(ValueError(text))
