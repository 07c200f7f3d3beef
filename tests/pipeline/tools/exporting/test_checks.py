"""What is wrong with the options of an export is said before anything is loaded."""

from dataclasses import replace

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.exported import runtimes
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.exporting.checks import check_export
from fdet.pipeline.tools.exporting.options import ExportOptions

CASES = [
    ("model.engine", {}, "expected a name that ends with one of .onnx, .pt2, .xml"),
    ("model.onnx", {"format": "onxn"}, "did you mean 'onnx'"),
    ("model.onnx", {"format": "pt2"}, "ends with .pt2"),
    ("model.onnx", {"include": "all"}, "--include 'all'"),
    ("model.onnx", {"fp16": True, "int8": True}, "exclude each other"),
    ("model.onnx", {"int8": True}, "--int8 is calibrated on images"),
    ("model.onnx", {"canvas": "64"}, "expected rows and columns"),
    ("model.onnx", {"canvas": "60x64"}, "expected multiples of 32"),
]


@pytest.mark.parametrize(("name", "options", "message"), CASES)
def test_what_cannot_be_exported(name, options, message, trained, tmp_path):
    with pytest.raises(InputError, match=message):
        check_export(trained / "run", tmp_path / name, ExportOptions(**options))


def test_pt2_has_no_8_bits(trained, tmp_path):
    options = ExportOptions(int8=True, check=trained / "cache.fdet", images=tmp_path)
    with pytest.raises(InputError, match="onnx and openvino files have"):
        check_export(trained / "run", tmp_path / "a.pt2", options)


def test_a_refiner_has_no_raw_outputs(trained, tmp_path, monkeypatch):
    info = RunInfo.read(trained / "run")
    config = replace(info.config, head=replace(info.config.head, refine=1))
    monkeypatch.setattr(RunInfo, "read", lambda run: replace(info, config=config))
    with pytest.raises(InputError, match="a refiner corrects what NMS keeps"):
        check_export(trained / "run", tmp_path / "a.onnx", ExportOptions(include="raw"))


def test_nothing_is_replaced_unasked(trained, tmp_path):
    (tmp_path / "infer.py").write_text("mine")
    with pytest.raises(InputError, match=r"infer\.py exists already"):
        check_export(trained / "run", tmp_path / "a.onnx", ExportOptions())
    check_export(trained / "run", tmp_path / "a.onnx", ExportOptions(overwrite=True))


def test_a_missing_package_is_named_with_what_installs_it(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'frozendet\[export\]'"):
        check_export(trained / "run", tmp_path / "a.onnx", ExportOptions())
