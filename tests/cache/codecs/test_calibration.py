"""What is learnt of a data set: scales, windows of codes, principal components; and its files."""

import hashlib
import io
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from fdet.cache.codecs.calibration import (
    MAX_FILE_BYTES,
    calibrate,
    calibration_digest,
    has_parameter_files,
    parameter_files,
    parameters_of,
    read_parameter_files,
)
from fdet.cache.codecs.codec import codec_of, make_codec
from fdet.cache.codecs.form import NUMBERS, parse_form
from fdet.cache.errors import CorruptCache
from fdet.cache.pyramid import LevelSpec, PyramidSpec

from ..handmade import CODECS, LEVELS, learnt, make_key

INTEGERS = [name for name, numbers in NUMBERS.items() if numbers.step is not None]
CALIBRATED = [name for name in CODECS if parse_form(name).calibrated]
integers = pytest.mark.parametrize("name", INTEGERS)
calibrated = pytest.mark.parametrize("name", CALIBRATED)


def learn(name: str, cells: np.ndarray):
    """The parameters of one level."""
    return calibrate(parse_form(name), {"p3": cells.astype(np.float32)})["p3"]


def normal(channels: int, count: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, channels))


def mixed(channels: int = 6, count: int = 4000) -> np.ndarray:
    """Channels that go together, of means and deviations of their own."""
    rng = np.random.default_rng(1)
    return normal(channels, count) @ rng.standard_normal((channels, channels)) + rng.uniform(
        -9, 9, channels
    )


def window(name: str, found) -> tuple[np.ndarray, np.ndarray]:
    """The values of the first and the last code."""
    last = NUMBERS[name.partition("+")[0]].codes - 1
    return found["shift"] * found["step"], (found["shift"] + last) * found["step"]


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_plain_floats_learn_nothing(name):
    assert parameter_files({"p3": learn(name, normal(3))}) == {}
    assert calibration_digest({}) == ""


@pytest.mark.parametrize("name", CODECS)
def test_nothing_to_learn_from_is_refused(name):
    with pytest.raises(ValueError, match="no cell"):
        learn(name, np.zeros((0, 3)))


@integers
def test_a_step_is_a_share_of_the_channels_own_deviation(name):
    x = normal(5) * [1, 10, 1.1, 3, 7] + [0, 50, -1, 0, 3]
    expected = x.std(axis=0) * 16 / 2 ** int(name[3:])
    np.testing.assert_allclose(learn(name, x)["step"], expected, rtol=1e-5)


@integers
def test_the_mean_has_the_code_in_the_middle(name):
    x = normal(5) * [1, 10, 0.1, 3, 7] + [0, 500, -1, 0, 3]
    first, last = window(name, learn(name, x))
    middle = (first + last) / 2
    assert (abs(middle - x.mean(axis=0)) <= 9 * learn(name, x)["step"]).all()
    assert (first < x.min(axis=0)).all() and (x.max(axis=0) < last).all()


@integers
def test_a_dead_channel_gets_a_step_of_the_levels_scale(name):
    x = normal(4) * [1, 2, 0, 3] + [0, 0, 5, 0]
    found = learn(name, x)
    level = np.median(x.std(axis=0)[[0, 1, 3]])
    expected = level / 4 * NUMBERS[name].step
    np.testing.assert_allclose(found["step"][2], expected, rtol=1e-5)
    first, last = window(name, found)
    assert first[2] < 5 < last[2]


@pytest.mark.parametrize("name", ["int6", "int5", "int4", "int5+pca", "int4+pca"])
def test_a_channel_that_was_dead_is_kept_when_it_fires(name):
    """As strongly as its neighbours, which lose no more for it."""
    spec = PyramidSpec((LevelSpec("c3", 8, 4),))
    codec = make_codec(parse_form(name), spec, {"c3": learn(name, normal(4) * [1, 2, 0, 3])})
    fired = torch.from_numpy(np.float32(normal(4).T * np.array([[1], [2], [2], [3]])))
    fired = fired.reshape(1, 4, 1, -1)
    (level,) = codec.levels
    lost = (level.decode(level.encode(fired), fired.shape[-1]) - fired).square().mean((0, 2, 3))
    assert (lost.sqrt() < 0.5 * fired.std((0, 2, 3))).all()


@calibrated
def test_a_level_of_nothing_but_zeros_keeps_zero(name):
    found = learn(name, np.zeros((50, 5)))
    assert all(np.isfinite(x).all() for x in found.arrays.values())
    if "shift" in found.arrays:
        first, last = window(name, found)
        assert (first < 0).all() and (last > 0).all()
    if "step" in found.arrays:
        assert (found["step"] > 0).all()


@integers
def test_shifts_are_whole_numbers(name):
    for x in (mixed(), normal(3) * 1e-3 + 1e3, np.exp(normal(4))):
        shift = learn(name, x)["shift"]
        assert (shift == np.rint(shift)).all()


@pytest.mark.parametrize(("peak", "reaches"), [(12, True), (40, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_window_moves_where_values_lie_on_one_side(peak, reaches, sign):
    """Like those behind a ReLU: most are zero, a few are very large. It never moves past zero."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((20000, 2)), 0) * (rng.uniform(size=(20000, 2)) > 0.8)
    x[:3] = peak * x.std(axis=0)
    found = learn("int8", sign * x)
    first, last = window("int8", found)
    low, high = (first, last) if sign == 1 else (-last, -first)
    assert (high - x.mean(axis=0) > 9 * x.std(axis=0)).all()
    assert ((high > x.max(axis=0) - found["step"]) == reaches).all()
    assert (low <= 0).all() and (reaches or (low == 0).all())


def test_a_window_too_small_for_both_sides_stays_in_the_middle():
    x = normal(1)
    x[0], x[1] = 40, -40
    found = learn("int8", x)
    first, last = window("int8", found)
    assert abs(first + last)[0] < 4 * found["step"][0]


@integers
def test_a_huge_mean_stays_within_the_window(name):
    x = normal(3) + 1e6
    found = learn(name, x)
    first, last = window(name, found)
    assert (first < x.min(axis=0)).all() and (x.max(axis=0) < last).all()


@calibrated
def test_fewer_cells_than_channels(name):
    found = learn(name, mixed(20, count=3))
    assert all(np.isfinite(x).all() for x in found.arrays.values())
    if "basis" in found.arrays:
        form = parse_form(name)
        kept = found["step"].shape[1] if form.blocks else form.stored_channels(20)
        assert found["basis"].shape == (20, kept)
        np.testing.assert_allclose(found["basis"].T @ found["basis"], np.eye(kept), atol=1e-5)


def test_the_basis_is_that_of_the_correlations():
    """Against the singular vectors, found another way."""
    x = mixed()
    found = learn("fp32+pca", x)
    np.testing.assert_allclose(found["mean"], x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["deviation"], x.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["basis"].T @ found["basis"], np.eye(6), atol=1e-6)
    turned = ((x - x.mean(axis=0)) / x.std(axis=0)) @ found["basis"]
    variances = turned.var(axis=0)
    assert all(a > b for a, b in pairwise(variances))
    _, _, rows = np.linalg.svd((x - x.mean(axis=0)) / x.std(axis=0), full_matrices=False)
    np.testing.assert_allclose(abs(np.sum(rows.T * found["basis"], axis=0)), 1, atol=1e-4)
    largest = abs(found["basis"]).argmax(axis=0)
    assert (found["basis"][largest, range(6)] > 0).all()


def test_fewer_components_are_the_first_ones():
    whole, first = learn("int8+pca", mixed()), learn("int8+pca3", mixed())
    assert (first["basis"] == whole["basis"][:, :3]).all()
    assert (first["step"] == whole["step"][:3]).all()


def test_all_components_have_one_step_unless_a_byte_has_too_few_codes():
    x = mixed(40)
    found = learn("int5+pca", x)
    assert (found["step"] == 0.5).all()
    wide = normal(1, 4000) * np.ones(400) + normal(400, 4000) * 0.01
    steps = learn("int8+pca", wide)["step"]
    assert steps[0] == pytest.approx(20 / 16, rel=0.05)
    assert (steps[1:] == 2.0**-4).all()


@calibrated
def test_the_same_cells_give_the_same_bytes(name):
    one, other = ({"p3": learn(name, mixed())} for _ in range(2))
    assert parameter_files(one) == parameter_files(other)
    assert calibration_digest(parameter_files(one)) == calibration_digest(parameter_files(other))


def test_another_process_gives_the_same_bytes():
    code = "from fdet.tests.cache.handmade import *; print(calibration_digest(learnt('int5+pca')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout.strip() == calibration_digest(learnt("int5+pca")), done.stderr


def test_the_digest_changes_with_any_byte_and_any_name():
    files = learnt("int8")
    digests = {calibration_digest(files)}
    for name, raw in files.items():
        for at in (0, 60, len(raw) - 1):
            changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
            digests.add(calibration_digest({**files, name: changed}))
        digests.add(calibration_digest({**files, name + "x": raw}))
        digests.add(calibration_digest({n: x for n, x in files.items() if n != name}))
    assert len(digests) == 1 + 5 * len(files)
    backwards = dict(reversed(files.items()))
    assert calibration_digest(backwards) == calibration_digest(files)


def test_the_digest_is_made_of_lines_as_sha256sum_prints_them():
    files = learnt("int8+pca3")
    lines = [f"{hashlib.sha256(files[n]).hexdigest()} {n}\n" for n in sorted(files)]
    assert calibration_digest(files) == hashlib.sha256("".join(lines).encode()).hexdigest()


def laid_out(root, files) -> None:
    for name, raw in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(raw)


def read(root, name: str, digest: str | None = None, levels: PyramidSpec = LEVELS):
    form, expected = parse_form(name), digest or calibration_digest(learnt(name))
    files = read_parameter_files(root, form, levels, expected)
    return parameters_of(root, files, form, levels)


@calibrated
def test_the_files_are_numpys_and_come_back(tmp_path, name):
    laid_out(tmp_path, learnt(name))
    found = read(tmp_path, name)
    assert list(found) == ["p3", "p4"]
    names = []
    for level, arrays in found.items():
        for array_name, array in arrays.arrays.items():
            names.append(f"codec/{level}/{array_name}.npy")
            np.testing.assert_array_equal(array, np.load(tmp_path / names[-1]), strict=True)
            saved = io.BytesIO()
            np.save(saved, array)
            assert saved.getvalue() == (tmp_path / names[-1]).read_bytes()
    assert sorted(names) == sorted(learnt(name))
    assert parameter_files(found) == learnt(name)


def test_whether_they_are_there(tmp_path):
    names = ["fdet.json", *learnt("int8")]
    assert not has_parameter_files(tmp_path, names)
    laid_out(tmp_path, learnt("int8"))
    assert has_parameter_files(tmp_path, names)
    (tmp_path / names[-1]).unlink()
    assert not has_parameter_files(tmp_path, names)
    assert has_parameter_files(tmp_path, ["fdet.json"])


def damages(raw: bytes):
    """By name: what may stand in a file's place."""
    values = np.frombuffer(raw, "<f4", offset=128)
    head = raw[:128]
    return {
        "empty": b"",
        "cut": raw[:-1],
        "longer": raw + b"\0",
        "a bit in the head": bytes([raw[0] ^ 1]) + raw[1:],
        "a bit in the values": raw[:-1] + bytes([raw[-1] ^ 1]),
        "other values": head + (values + 1).astype("<f4").tobytes(),
        "doubles": raw.replace(b"<f4", b"<f8"),
        "an object": raw.replace(b"'<f4'", b"'|O' "),
    }


@pytest.mark.parametrize("how", damages(bytes(136)))
@pytest.mark.parametrize("name", ["int8", "int5+pca3", "q1.5"])
def test_a_damaged_file_is_found(tmp_path, name, how):
    laid_out(tmp_path, learnt(name))
    for path in learnt(name):
        (tmp_path / path).write_bytes(damages(learnt(name)[path])[how])
        with pytest.raises(CorruptCache, match=rf"^{tmp_path}/codec"):
            read(tmp_path, name)
        (tmp_path / path).write_bytes(learnt(name)[path])
    read(tmp_path, name)


@pytest.mark.parametrize("how", ["absent", "folder", "link", "pipe", "huge"])
def test_what_is_no_such_file_is_named(tmp_path, how):
    laid_out(tmp_path, learnt("int8"))
    path = tmp_path / "codec/p4/shift.npy"
    path.rename(tmp_path / "kept")
    if how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to(tmp_path / "kept")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "huge":
        path.touch()
        os.truncate(path, 2**40)
    with pytest.raises(CorruptCache, match=f"^{path}: "):
        read(tmp_path, "int8")


@pytest.mark.parametrize("other", ["another seed", "swapped levels", "another codec"])
def test_sound_files_of_another_cache_are_found(tmp_path, other):
    levels = PyramidSpec((LevelSpec("p3", 8, 3), LevelSpec("p4", 16, 3)))
    mine = learnt("int8", levels)
    files = {
        "another seed": learnt("int8", levels, 1),
        "another codec": learnt("int5", levels),
        "swapped levels": {
            n.replace("p3", "px").replace("p4", "p3").replace("px", "p4"): x
            for n, x in mine.items()
        },
    }[other]
    laid_out(tmp_path, files)
    with pytest.raises(CorruptCache, match="its files are not those that the key names"):
        read(tmp_path, "int8", calibration_digest(mine), levels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
@pytest.mark.parametrize("array", ["step", "shift", "mean", "deviation", "basis"])
def test_values_of_no_use_are_refused_though_the_digest_holds(tmp_path, array, bad):
    files, path = dict(learnt("int8+pca")), f"codec/p4/{array}.npy"
    files[path] = files[path][:-4] + np.array(bad, "<f4").tobytes()
    laid_out(tmp_path, files)
    key = make_key(codec="int8+pca", calibration=calibration_digest(files))
    if np.isfinite(bad) and array not in ("step", "deviation"):
        assert codec_of(tmp_path, key).levels[1].arrays[array].flatten()[-1] == bad
        return
    with pytest.raises(CorruptCache, match=f"^{tmp_path / path}: no {array} has such values"):
        codec_of(tmp_path, key)


def test_an_array_larger_than_any_is_not_read(tmp_path):
    levels = PyramidSpec((LevelSpec("p3", 8, 2**14),))
    assert MAX_FILE_BYTES < 4 * 2**28
    path = tmp_path / "codec/p3/mean.npy"
    laid_out(tmp_path, {f"codec/p3/{n}.npy": b"" for n in ("mean", "deviation", "basis")})
    for name in ("mean", "deviation"):
        saved = io.BytesIO()
        np.save(saved, np.ones(2**14, np.float32))
        path.with_name(f"{name}.npy").write_bytes(saved.getvalue())
    os.truncate(path.with_name("basis.npy"), 4 * 2**28 + 128)
    with pytest.raises(CorruptCache, match=r"basis\.npy: no codec has an array of shape"):
        read(tmp_path, "fp16+pca", "ab", levels)
