"""Class embeddings from a safetensors file, which holds one (D,) tensor of floats per class name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ....cache.errors import InputError
from ....cache.wording import counted

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClassEmbeddings:
    """The vectors of K classes.

    source: the file that they come from. names: the names of the classes, sorted. vectors: (K, D) float32,
    one row per name.
    """

    source: str
    names: tuple[str, ...]
    vectors: Vectors

    def of(self, names: Sequence[str]) -> Vectors:
        """Return the vectors of these names, (N, D), in their order.

        Raises InputError that lists the names without a vector.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        lacking = [name for name in names if name not in rows]
        if lacking:
            shown = ", ".join(map(repr, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
            raise InputError(
                f"--class-embeddings {self.source}: no vector for {len(lacking)} of "
                f"{counted(len(names), 'class', 'classes')}: "
                f"{shown}; expected a tensor under the name of each"
            )
        return self.vectors[[rows[name] for name in names]]


def read_embeddings(path: Path) -> ClassEmbeddings:
    """Read the vectors of all classes in a file. Raises InputError."""
    if not path.is_file():
        raise InputError(f"--class-embeddings {path}: no such file")
    try:
        with safe_open(path, framework="np") as file:
            found = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, ValueError, TypeError, OSError, MemoryError) as error:
        raise InputError(
            f"--class-embeddings {path}: not a safetensors file of float32 vectors ({error})"
        ) from error
    if not found:
        raise InputError(f"--class-embeddings {path}: it names no class")
    length = next(iter(found.values())).shape
    for name, vector in found.items():
        _check(vector, length, f"--class-embeddings {path}: {name!r}")
    vectors = np.stack([vector.astype(np.float32) for vector in found.values()])
    return ClassEmbeddings(str(path), tuple(found), vectors)


def _check(vector: npt.NDArray[np.generic], length: tuple[int, ...], where: str) -> None:
    if vector.ndim != 1 or vector.shape != length or vector.dtype.kind != "f":
        raise InputError(
            f"{where}: expected a vector of floats, as long as the others, got {vector.dtype} "
            f"{vector.shape}"
        )
    values = vector.astype(np.float32)
    if not np.isfinite(values).all() or not float(np.square(values).sum()) > 0:
        raise InputError(f"{where}: expected finite values that are not all zero")
