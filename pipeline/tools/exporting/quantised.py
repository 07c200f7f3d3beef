"""Files in 8 bits: convolutions and matrix products, calibrated on images (post-training quantisation)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx

from ...exported.detector import Array

# Decoding and the choice of detections are not among them, so coordinates keep their precision.
_QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def quantise(source: Path, path: Path, inputs: Iterable[tuple[Array, Array]]) -> None:
    """Write an ONNX file in 8 bits. inputs: canvases (1, 3, H, W) and sizes (1, 2) of typical images."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    quantize_static(
        source,
        path,
        _reader(inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_QUANTISED),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)


def _reader(inputs: Iterable[tuple[Array, Array]]) -> Any:
    """Return the inputs in the form that onnxruntime reads them in."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """The inputs, one after another."""

        def __init__(self, given: Iterator[tuple[Array, Array]]) -> None:
            self._given = given

        def get_next(self) -> dict[str, Array] | None:
            """Return the next inputs by name, None after the last."""
            found = next(self._given, None)
            return None if found is None else {"images": found[0], "sizes": found[1]}

    return Reader(iter(inputs))
