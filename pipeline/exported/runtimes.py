"""The runtimes whose files `fdet export` writes: how each is recognised, described, opened and run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from ...cache.errors import CorruptCache, InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
# Canvases (B, 3, H, W) and sizes (B, 2) -> the outputs in their order.
Session = Callable[["Array", "Array"], "list[Array]"]
# The name of a description among the metadata of a file.
ENTRY = "fdet"
# What a file gives: detections after NMS, or the raw outputs.
Include = Literal["nms", "raw"]
_MAX_TEXT = 2**28


@dataclass(frozen=True, slots=True)
class Runtime:
    """A row of RUNTIMES.

    suffix: that of its files. package: what must be installed to run them. described: a function from a file
    to the text of its description. opened: a function from a file and a number of threads (0: all) to what
    runs it.
    """

    suffix: str
    package: str
    described: Callable[[Path], str]
    opened: Callable[[Path, int], Session]


def is_exported(path: Path) -> bool:
    """Return whether a path names a file of a runtime."""
    return any(path.suffix == row.suffix for row in RUNTIMES.values()) and not path.is_dir()


def runtime_of(path: Path) -> str:
    """Return the name of the runtime of a file, by its suffix. Raises InputError."""
    for name, row in RUNTIMES.items():
        if path.suffix == row.suffix:
            return name
    known = ", ".join(row.suffix for row in RUNTIMES.values())
    raise InputError(f"{path}: expected a name that ends with one of {known}")


def check_installed(*packages: str) -> None:
    """Raise InputError where a package that exported files need is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise InputError(
                f"exported detectors need {package}; install it with pip install 'frozendet[export]'"
            )


def open_session(path: Path, threads: int = 0) -> Session:
    """Open an exported file. threads: how many compute it, 0 for all. Raises InputError, CorruptCache."""
    row = RUNTIMES[runtime_of(path)]
    check_installed(row.package)
    try:
        return row.opened(path, threads)
    except (RuntimeError, ValueError, OSError) as error:
        raise CorruptCache(f"{path}: {row.package} cannot open it ({error})") from error


def _onnx_text(path: Path) -> str:
    check_installed("onnx")
    import onnx

    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
    except Exception as error:  # That of protobuf has no name of its own.
        raise ValueError(error) from error
    return str({entry.key: entry.value for entry in properties}[ENTRY])


def _open_onnx(path: Path, threads: int) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Array, sizes: Array) -> list[Array]:
        outputs: list[Array] = session.run(None, {"images": images, "sizes": sizes})
        return outputs

    return run


def _pt2_text(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(f"extra/{ENTRY}"))
        if archive.getinfo(name).file_size > _MAX_TEXT:
            raise ValueError("its description is too large")
        return archive.read(name).decode()


def _open_pt2(path: Path, threads: int) -> Session:
    import torch
    import torchvision  # noqa: F401, its operators are in the file

    # torch has one number of threads for all that it computes.
    if threads:
        torch.set_num_threads(threads)
    model = torch.export.load(path).module()

    def run(images: Array, sizes: Array) -> list[Array]:
        with torch.no_grad():
            outputs = model(torch.from_numpy(images), torch.from_numpy(sizes))
        return [x.numpy() for x in outputs]

    return run


def _openvino_text(path: Path) -> str:
    found = ElementTree.parse(path).find(f"./rt_info/{ENTRY}")  # noqa: S314, no DTD is read
    if found is None:
        raise KeyError(ENTRY)
    return str(json.loads(found.attrib["value"]))


def _open_openvino(path: Path, threads: int) -> Session:
    import numpy as np
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = openvino.Core().compile_model(
        path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **settings}
    )

    def run(images: Array, sizes: Array) -> list[Array]:
        found = compiled({"images": images, "sizes": sizes})
        return [np.asarray(found[k]) for k in range(len(compiled.outputs))]

    return run


RUNTIMES: Mapping[str, Runtime] = {
    "onnx": Runtime(".onnx", "onnxruntime", _onnx_text, _open_onnx),
    "pt2": Runtime(".pt2", "torch", _pt2_text, _open_pt2),
    "openvino": Runtime(".xml", "openvino", _openvino_text, _open_openvino),
}
