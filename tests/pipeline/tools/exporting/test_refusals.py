"""What a runtime has not is said in one line, with what has it."""

import openvino.frontend
import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.tools.exporting.formats import ir_of_onnx

SAID = "Model wasn't fully converted\nThe kernel is larger than the map.\n\nSummary:\n-- MaxPool"


def test_openvino_names_what_can(exported, tmp_path, monkeypatch):
    def refuse(_path):
        raise openvino.frontend.OpConversionFailure(SAID)

    monkeypatch.setattr(openvino, "convert_model", refuse)
    with pytest.raises(InputError) as raised:
        ir_of_onnx(exported.model, tmp_path / "a.xml", exported.description)
    assert str(raised.value) == (
        "OpenVINO cannot take neck fpn with head fcos on this canvas (The kernel is larger than the map.); "
        "--out NAME.onnx and NAME.pt2 can"
    )
