"""Files of class vectors: by name, and nothing else."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.classes.embeddings import read_embeddings

VECTORS = {
    "square": np.array([0.0, 2.0, 0.0], np.float32),
    "disc": np.array([1.0, 0.0, 0.0], np.float16),
}


def written(folder, **tensors):
    save_file(tensors, folder / "classes.safetensors")
    return folder / "classes.safetensors"


def test_vectors_are_given_by_name(tmp_path):
    found = read_embeddings(written(tmp_path, **VECTORS))
    assert found.names == ("disc", "square")
    chosen = found.of(("square", "disc", "square"))
    assert chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen, [[0, 2, 0], [1, 0, 0], [0, 2, 0]])


def test_names_that_are_lacking_are_said(tmp_path):
    found = read_embeddings(written(tmp_path, **VECTORS))
    with pytest.raises(InputError, match=r"no vector for 2 of 3 classes: 'cat', 'dog'; expected"):
        found.of(("cat", "disc", "dog"))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "names no class"),
        ({"a": np.ones((1, 3), np.float32)}, r"'a': expected a vector of floats.*\(1, 3\)"),
        ({"a": np.ones(3, np.int64)}, r"'a': expected a vector of floats.*int64"),
        ({"a": np.ones(3, np.float32), "b": np.ones(4, np.float32)}, r"'b': .*as long as"),
        ({"a": np.zeros(3, np.float32)}, "'a': expected finite values that are not all zero"),
        ({"a": np.array([1, np.nan], np.float32)}, "'a': expected finite values"),
        ({"a": np.array([1e300, 1.0])}, "'a': expected finite values"),
        ({"a": np.zeros(0, np.float32)}, "'a': expected finite values"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_is_no_vector_is_refused(tensors, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_embeddings(written(tmp_path, **tensors))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_embeddings(tmp_path / "absent")
    np.savez(tmp_path / "classes.npz", **VECTORS)
    with pytest.raises(InputError, match=r"classes\.npz: not a safetensors file"):
        read_embeddings(tmp_path / "classes.npz")
