"""Ways to lay out and compress integer codes: what was tried for the codecs of few bits, and what was kept.

    python benchmarks/coders.py CACHE --images 24

CACHE is exact (fp32). The codes have steps in standard deviations of a channel over the data set, and, for
comparison, ranges of each channel and sample. Printed are the bits per value and the MB of codes per second
to compress and to decompress, on one thread. pcodec (its bins and tANS) and constriction (ANS with one
distribution for each level) are measured where they are installed.

Then the codes of the codecs in blocks of 2x2 cells, learnt on every second image and taken of the others: how
many bits known coders need, of the bytes as they are stored or, with imagecodecs, of pictures; what each
coefficient's own distribution would need; and what distributions would need that depend on the sizes of the
coefficients before it in its block.
"""

import argparse
import bz2
import lzma
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
import zstandard

from fdet.cache.codecs.blocks import Blocks
from fdet.cache.codecs.calibration import calibrate
from fdet.cache.codecs.codec import codec_of, make_codec
from fdet.cache.codecs.form import parse_form
from fdet.cache.loader import load_batch
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.reader import FeatureCache

STEPS = {"int6": 2.0**-2, "int5": 2.0**-1, "int4": 1.0}


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    maps, ways = exact_maps(arguments.cache, arguments.images), list(coders())
    for name, step in STEPS.items():
        for components in (False, True):
            codes, noise = by_step(maps, step, components)
            show(f"{name}{'+pca' if components else ''}: step {step:g}", codes, noise, ways)
        codes, noise = by_range(maps, int(name[3:]))
        show(f"{name}: range of a channel and sample", codes, noise, ways)
    for name in ("q2", "q1.5", "q1"):
        show_blocks(name, maps)


def show_blocks(name: str, maps) -> None:
    """Print the bits a value of a codec in blocks, by coder, and the MB of float32 maps a second."""
    codec = blocks_codec(name, maps)
    some = [level[1::2] or level for level in maps]
    values = sum(x.size for level in some for x in level)
    planes, stored, signal, error, bounds = [], [], 0.0, 0.0, np.zeros(2)
    for level, xs in zip(codec.levels, some, strict=True):
        blocks, codes = Blocks(level.arrays["step"], level.arrays["bits"]), []
        deviation = np.concatenate([x.reshape(len(x), -1) for x in xs], axis=1).std(axis=1)
        scale = np.maximum(deviation, 1e-6)[:, None, None]
        for x in xs:
            kept = level.encode(torch.from_numpy(x)[None])
            stored.append(kept[0].numpy())
            codes.append(blocks.codes(kept)[0].flatten(0, 1).numpy())
            error += float((((level.decode(kept, x.shape[2])[0].numpy() - x) / scale) ** 2).sum())
            signal += x.size
        order = np.argsort(-np.abs(np.concatenate(codes, axis=1)).mean(1), kind="stable")
        planes += [one[order].astype(np.int16) for one in codes]
        bounds += ideal(np.concatenate(codes, axis=1)[None, order])
    noise, (alone, adaptive) = 10 * np.log10(signal / error), bounds / values
    print(f"{name}: {noise:.1f} dB; {alone:.2f} bits by coefficient, {adaptive:.2f} with contexts")
    for title, there, back in block_coders():
        started = time.process_time()
        packed = [there(x) for x in (planes if title.startswith("picture") else stored)]
        middle = time.process_time()
        for one in packed:
            back(one)
        ended = time.process_time()
        rate = [4 * values / 1e6 / max(t, 1e-9) for t in (middle - started, ended - middle)]
        size = 8 * sum(map(len, packed)) / values
        print(f"    {title:<28} {size:5.2f} bits {rate[0]:6.0f} / {rate[1]:6.0f} MB/s", flush=True)


def blocks_codec(name: str, maps):
    """Return a codec that has learnt from every second map."""
    levels = tuple(LevelSpec(f"level{k}", 8 << k, len(x[0])) for k, x in enumerate(maps))
    cells = {
        spec.name: np.concatenate([in_rows_of_blocks(x) for x in level[::2]])
        for spec, level in zip(levels, maps, strict=True)
    }
    form, spec = parse_form(name), PyramidSpec(levels)
    return make_codec(form, spec, calibrate(form, cells, spec.strides))


def in_rows_of_blocks(x: np.ndarray) -> np.ndarray:
    """Return the cells (N, C) of the whole blocks of a map (C, H, W), four after four of a block."""
    channels, rows, columns = len(x), x.shape[1] & ~1, x.shape[2] & ~1
    cut = x[:, :rows, :columns].reshape(channels, rows // 2, 2, columns // 2, 2)
    return cut.transpose(1, 3, 2, 4, 0).reshape(-1, channels)


def ideal(codes: np.ndarray) -> np.ndarray:
    """Return the bits of codes (N, M, P) by the distribution of each of M coefficients, and with contexts.

    A context is the mean size of a coefficient's codes, in half octaves, and how the 64 coefficients before
    it compare with theirs in this block, in eight classes. The distributions are those of these very codes,
    so this is a bound, which tables and adaptation would not reach.
    """
    small = codes.clip(-8, 8).astype(np.int64) + 8
    sizes = np.abs(codes).mean((0, 2))
    alone = sum(bits_of(np.bincount(small[:, k].ravel())) for k in range(small.shape[1]))
    found = np.cumsum(np.abs(codes), axis=1) - np.abs(codes)
    usual = np.cumsum(sizes) - sizes
    found[:, 64:] -= found[:, :-64].copy()
    usual[64:] -= usual[:-64].copy()
    ratio = np.digitize((found + 1) / (usual[None, :, None] + 1), [0.5, 0.65, 0.8, 1, 1.2, 1.5, 2])
    scale = np.rint(2 * np.log2(np.maximum(sizes, 1e-3))).astype(np.int64)
    context = (scale - scale.min())[None, :, None] * 8 + ratio
    joint = np.bincount((context * 17 + small).ravel(), minlength=17 * (context.max() + 1))
    return np.array([alone, sum(bits_of(counts) for counts in joint.reshape(-1, 17))])


def bits_of(counts: np.ndarray) -> float:
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def block_coders():
    """Yield (name, compress, decompress), of stored maps or, as pictures, of int16 codes (M, P)."""
    back = zstandard.ZstdDecompressor().decompress
    for level in (1, 13):
        zstd = zstandard.ZstdCompressor(level=level).compress
        yield f"zstd {level}", lambda x, f=zstd: f(x.tobytes()), back
    window = zstandard.ZstdCompressionParameters.from_level(13, window_log=13)
    small = zstandard.ZstdCompressor(compression_params=window).compress
    yield "zstd 13, blocks of 8 KiB", lambda x: small(x.tobytes()), back
    yield "bz2", lambda x: bz2.compress(x.tobytes()), bz2.decompress
    raw = [{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 2**17}]
    yield (
        "lzma",
        lambda x: lzma.compress(x.tobytes(), lzma.FORMAT_RAW, filters=raw),
        lambda x: lzma.decompress(x, lzma.FORMAT_RAW, filters=raw),
    )
    pcodec = installed("pcodec")
    if pcodec:
        config, simple = pcodec.ChunkConfig(), pcodec.standalone
        yield (
            "picture: pcodec",
            lambda x: simple.simple_compress(x.ravel(), config),
            simple.simple_decompress,
        )
    pictures = installed("imagecodecs")
    if pictures:
        yield (
            "brotli 5",
            lambda x: pictures.brotli_encode(x.tobytes(), level=5),
            pictures.brotli_decode,
        )
        yield (
            "picture: JPEG 2000",
            lambda x: pictures.jpeg2k_encode(
                as_bytes(x).view(np.uint8) ^ 128, level=0, reversible=True, resolutions=1
            ),
            pictures.jpeg2k_decode,
        )
        yield (
            "picture: JPEG LS",
            lambda x: pictures.jpegls_encode(as_bytes(x).view(np.uint8) ^ 128),
            pictures.jpegls_decode,
        )
        yield (
            "picture: JPEG XL, effort 3",
            lambda x: pictures.jpegxl_encode(
                as_bytes(x).view(np.uint8) ^ 128, lossless=True, effort=3
            ),
            pictures.jpegxl_decode,
        )


def exact_maps(path: Path, count: int) -> list[list[np.ndarray]]:
    """Return for each level one map (C, H, W) per sample."""
    cache = FeatureCache.open(path)
    codec = codec_of(path, cache.header.key)
    pyramids = [load_batch(cache, [(i, 0)]).decode(codec, "cpu") for i in cache.image_ids[:count]]
    return [[p.maps[k][0].numpy() for p in pyramids] for k in range(len(pyramids[0].maps))]


def by_step(maps, step: float, components: bool):
    """Return codes with one step over the data set, as int16, and their signal-to-noise ratio in dB."""
    codes, error, signal = [], 0.0, 0.0
    for level in maps:
        cells = np.concatenate([x.reshape(len(x), -1).T for x in level])
        found = calibrate(parse_form("fp32+pca"), {"level": cells})["level"]
        basis = found["basis"] if components else np.eye(cells.shape[1], dtype=np.float32)
        for x in level:
            normal = (x.reshape(len(x), -1) - found["mean"][:, None]) / found["deviation"][:, None]
            q = np.rint(basis.T @ normal / step)
            error += float(((basis @ (q * step) - normal) ** 2).sum())
            signal += float((normal**2).sum())
            codes.append(q.astype(np.int16).reshape(len(q), *x.shape[1:]))
    return codes, 10 * np.log10(signal / error)


def by_range(maps, bits: int):
    """Return codes of 2^bits steps between the minimum and the maximum of each channel of a sample.

    The second value is their signal-to-noise ratio in dB.
    """
    codes, error, signal = [], 0.0, 0.0
    for level in maps:
        deviation = np.concatenate([x.reshape(len(x), -1) for x in level], axis=1).std(axis=1)
        for x in level:
            flat = x.reshape(len(x), -1)
            low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
            step = np.maximum((high - low) / (2**bits - 1), 1e-12)
            q = np.rint((flat - low) / step)
            scale = np.maximum(deviation[:, None], 1e-12)
            error += float((((q * step + low) - flat) ** 2 / scale**2).sum())
            signal += float((((flat - flat.mean(axis=1, keepdims=True)) / scale) ** 2).sum())
            codes.append((q - 2 ** (bits - 1)).astype(np.int16).reshape(x.shape))
    return codes, 10 * np.log10(signal / error)


def show(title: str, codes, noise: float, ways) -> None:
    values = sum(x.size for x in codes)
    print(f"{title}, {noise:.1f} dB; entropy of each channel {entropy(codes) / values:.2f} bits")
    for name, there, back in ways:
        started = time.perf_counter()
        packed = [there(x) for x in codes]
        middle = time.perf_counter()
        for one in packed:
            back(one)
        ended = time.perf_counter()
        size = 8 * sum(map(len, packed)) / values
        rate = values / 1e6 / (middle - started), values / 1e6 / (ended - middle)
        print(f"    {name:<24} {size:5.2f} bits {rate[0]:6.0f} / {rate[1]:6.0f} MB/s", flush=True)


def entropy(codes) -> float:
    """Return the bits needed if each channel were coded by its own distribution over all samples."""
    total = 0.0
    for shape in {x.shape for x in codes}:
        together = np.stack([x for x in codes if x.shape == shape], axis=1)
        for channel in together:
            _, counts = np.unique(channel, return_counts=True)
            total -= float((counts * np.log2(counts / counts.sum())).sum())
    return total


def coders():
    """Yield (name, compress, decompress) for int16 codes (K, H, W)."""
    back = zstandard.ZstdDecompressor().decompress
    for level in (1, 3):
        zstd = zstandard.ZstdCompressor(level=level).compress
        yield f"bytes, zstd {level}", lambda x, f=zstd: f(as_bytes(x).tobytes()), back
        yield f"nibbles, zstd {level}", lambda x, f=zstd: f(as_nibbles(x).tobytes()), back
    pcodec = installed("pcodec")
    if pcodec:
        config = pcodec.ChunkConfig(
            delta_spec=pcodec.DeltaSpec.no_op(), mode_spec=pcodec.ModeSpec.classic()
        )
        simple = pcodec.standalone
        yield (
            "pcodec",
            lambda x: simple.simple_compress(x.ravel(), config),
            simple.simple_decompress,
        )
    constriction = installed("constriction")
    if constriction:
        yield "constriction", lambda x: Ans(constriction, x), lambda packed: packed.back()


class Ans:
    """A level of one sample: its distribution as 16 bits per symbol, and the compressed stream."""

    def __init__(self, constriction, codes: np.ndarray) -> None:
        symbols = codes.ravel().astype(np.int32)
        symbols -= symbols.min()
        counts = np.bincount(symbols).astype(np.float32)
        self._model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)
        self._coder, self._count = constriction.stream.stack.AnsCoder(), len(symbols)
        self._coder.encode_reverse(symbols, self._model)
        self._size = self._coder.get_compressed().nbytes + 2 * len(counts)

    def __len__(self) -> int:
        return self._size

    def back(self) -> None:
        self._coder.decode(self._model, self._count)


def as_bytes(codes: np.ndarray) -> np.ndarray:
    return codes.clip(-128, 127).astype(np.int8)


def as_nibbles(codes: np.ndarray) -> np.ndarray:
    """Pack codes as cache/codecs/codec.py does.

    A byte holds the lower halves of two neighbours; the bytes of the upper halves follow.
    """
    u = (codes.clip(-120, 119) + 120).astype(np.uint8)
    u = np.pad(u, ((0, 0), (0, 0), (0, u.shape[-1] % 2)))
    halves = np.concatenate([u & 15, u >> 4])
    return halves[..., 0::2] | (halves[..., 1::2] << 4)


def installed(name: str):
    try:
        return import_module(name)
    except ImportError:
        print(f"{name} is not installed (pip install {name}): left out")
        return None


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="exact maps")
    parser.add_argument("--images", type=int, default=24)
    return parser.parse_args()


if __name__ == "__main__":
    main()
