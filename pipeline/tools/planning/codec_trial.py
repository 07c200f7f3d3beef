"""The trial's maps in every codec: their size on the disk, and the time to pack and unpack them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import zstandard

from ....cache.codecs.calibration import Parameters, calibrate
from ....cache.codecs.codec import Codec, make_codec
from ....cache.codecs.form import NUMBERS, StoredForm
from ....cache.errors import FeatureError
from ....cache.format.chunks import Frame, compress, decompress
from ...extraction.calibration import cells_for
from ...machines.progress import progress_line
from .trial import Passed, timed

_Arrays = list[npt.NDArray[np.generic]]

# The cells of a level that are looked at: fewer than at extraction, as there are many codecs to calibrate.
CELLS = 2**13


@dataclass(frozen=True, slots=True)
class CodecTrial:
    """The costs of one codec, per value of the maps.

    bytes: the size of its frames. encode, decode: the seconds of these steps on the backbone's device.
    compress, decompress: the seconds of these steps on the host, with the checksums.
    """

    codec: str
    bytes: float
    encode: float
    compress: float
    decompress: float
    decode: float


def forms(asked: StoredForm) -> list[StoredForm]:
    """Return the forms to try: every kind of number, integers also with components, and the asked one.

    Principal components make the codes of integers shorter, but not floating-point numbers.
    """
    plain = [StoredForm(numbers) for numbers in NUMBERS.values()]
    packed = [StoredForm(n, components=0) for n in NUMBERS.values() if n.step is not None]
    known = [*plain, *packed]
    return known if asked in known else [*known, asked]


def try_codecs(
    samples: Sequence[Passed], asked: StoredForm, given: Parameters | None, device: torch.device
) -> tuple[list[CodecTrial], dict[str, str]]:
    """Return the figures of each codec, and by name why the others cannot store these maps.

    given: what the asked codec has learnt, where that comes from another cache. Raises FeatureError where the
    asked codec cannot store the maps.
    """
    spec = samples[0].pyramid.spec
    found, refused = [], {}
    tried = forms(asked)
    with progress_line("trial codecs", len(tried)) as progress:
        for form in tried:
            taken = given if form == asked else None
            parameters = _learnt(form, samples) if taken is None else taken
            try:
                found.append(_try(make_codec(form, spec, parameters, device), samples, device))
            except FeatureError as error:
                if form == asked:
                    raise
                refused[form.name] = str(error)
            progress.advance()
    return found, refused


def _learnt(form: StoredForm, samples: Sequence[Passed]) -> Parameters:
    if not form.calibrated:
        return {}
    spec = samples[0].pyramid.spec
    each = max(1, CELLS // len(samples))
    cells = {
        name: np.concatenate(
            [cells_for(form, s.pyramid.maps[k][0], s.placement, each) for s in samples]
        )
        for k, name in enumerate(spec.names)
    }
    return calibrate(form, cells, spec.strides)


def _try(codec: Codec, samples: Sequence[Passed], device: torch.device) -> CodecTrial:
    size, seconds = 0, np.zeros(4)
    for sample in samples:
        stored, encode = timed(device, _encoded, codec, sample)
        frames, packing = timed(device, _packed, stored)
        back, unpacking = timed(device, _unpacked, stored, frames)
        _, decode = timed(device, _decoded, codec, sample, back, device)
        size += sum(len(frame.data) for frame in frames)
        seconds += (encode, packing, unpacking, decode)
    values = sum(sample.values for sample in samples)
    return CodecTrial(codec.name, size / values, *(seconds / values).tolist())


def _encoded(codec: Codec, sample: Passed) -> _Arrays:
    return [x[0].cpu().numpy() for x in codec.encode(sample.pyramid)]


def _packed(stored: _Arrays) -> list[Frame]:
    frames = [compress(x) for x in stored]
    for frame in frames:
        hashlib.sha256(frame.data)  # since the file of a shard is hashed too
    return frames


def _unpacked(stored: _Arrays, frames: Sequence[Frame]) -> _Arrays:
    decompressor = zstandard.ZstdDecompressor()
    pairs = zip(stored, frames, strict=True)
    raw = [decompress(decompressor, *_bytes(frame), x.nbytes) for x, frame in pairs]
    return [
        np.frombuffer(bytearray(data), x.dtype).reshape(x.shape)
        for x, data in zip(stored, raw, strict=True)
    ]


def _bytes(frame: Frame) -> tuple[bytes, int, int]:
    return frame.data, len(frame.data), frame.crc32c


def _decoded(codec: Codec, sample: Passed, stored: _Arrays, device: torch.device) -> None:
    maps = [torch.from_numpy(x)[None].to(device) for x in stored]
    codec.decode(maps, sample.placement.canvas_hw)
