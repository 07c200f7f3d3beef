"""infer.py: a short program beside the file that turns photographs into boxes, without fdet."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import NamedTuple

from ...exported.description import Description


class _Loader(NamedTuple):
    """How a runtime runs a file: what is installed, what is imported, and the lines that define `run`."""

    packages: str
    imports: str
    lines: str


_LOADERS: Mapping[str, _Loader] = {
    "onnx": _Loader(
        "onnxruntime",
        "import onnxruntime",
        'SESSION = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])\n\n\n'
        "def run(images, sizes):\n"
        '    return SESSION.run(None, {"images": images, "sizes": sizes})',
    ),
    "pt2": _Loader(
        "torch and torchvision",
        "import torch\nimport torchvision  # its operators are in the file",
        "MODULE = torch.export.load(MODEL).module()\n\n\n"
        "def run(images, sizes):\n"
        "    with torch.no_grad():\n"
        "        outputs = MODULE(torch.from_numpy(images), torch.from_numpy(sizes))\n"
        "    return [x.numpy() for x in outputs]",
    ),
    "openvino": _Loader(
        "openvino",
        "import openvino",
        'COMPILED = openvino.Core().compile_model(MODEL, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})\n\n\n'
        "def run(images, sizes):\n"
        '    found = COMPILED({"images": images, "sizes": sizes})\n'
        "    return [found[k] for k in range(len(COMPILED.outputs))]",
    ),
}

_SCRIPT = Template('''\
"""Find objects in photographs with $model: python $script photo.jpg ...

fdet $version wrote this program. It needs numpy, pillow and $packages, and $about beside it.
"""

import json
import sys
from pathlib import Path

import numpy as np
$imports
from PIL import Image, ImageOps

MODEL = Path(__file__).with_name("$model")
ABOUT = json.loads(Path(__file__).with_name("$about").read_text("utf-8"))
$lines


def load(path):
    """Read a photograph as upright RGB; what is transparent becomes white."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode[0] in "IF":
        raise ValueError(f"{path}: its pixels have more than 8 bits")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def canvas_of(image):
    """Return the canvas (3, H, W) float32 of an image, and the rows and columns that show it."""
    rows, columns = ABOUT["canvas"]
    factor = min(ABOUT["resize"]["short"] / min(image.size), ABOUT["resize"]["long"] / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    if width > columns or height > rows:
        factor = min(factor, rows / image.height, columns / image.width)
        width, height = (max(1, round(side * factor)) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    pixels = (pixels - np.float32(ABOUT["mean"])) / np.float32(ABOUT["std"])
    canvas = np.zeros((3, rows, columns), np.float32)
    canvas[:, :height, :width] = pixels.transpose(2, 0, 1)
    return canvas, (height, width)


def detect(path):
    """Return boxes (N, 4) xyxy in px of the upright photograph, scores (N,) and labels (N,), best first."""
    image = load(path)
    canvas, (height, width) = canvas_of(image)
    boxes, scores, labels = run(canvas[None], np.array([[height, width]], np.int64))[:3]
    found = scores[0] > 0
    boxes = boxes[0][found] * np.tile([image.width / width, image.height / height], 2)
    return boxes.clip(0, [*image.size] * 2), scores[0][found], labels[0][found]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for box, score, label in zip(*detect(name)):
            kind = ABOUT["classes"][label]
            if score >= kind["threshold"]:
                print(name, kind["name"], f"{score:.3f}", *(f"{side:.1f}" for side in box))
''')


def script_of(description: Description, model: str, about: str, script: str) -> str:
    """Return the program. model, about, script: the names of the file, of its description and of itself."""
    loader = _LOADERS[description.runtime]
    return _SCRIPT.substitute(
        loader._asdict(), model=model, about=about, script=script, version=description.fdet
    )
