"""A frozen backbone from canvases to a feature pyramid, in eval mode and without an autograd graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn

from ...cache.errors import InputError
from ...cache.pyramid import PREFIX_TOKENS, FeaturePyramid, PyramidSpec, VectorSpec
from .taps import HW, TappedNet, Taps

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class FrozenBackbone(nn.Module):
    """A frozen backbone: (B, H, W, 3) uint8 canvases -> FeaturePyramid.

    taps: the model. chosen: the positions of this pyramid's levels among all that the model offers.
    sha256, origin: the digest and the origin of the weights, as the cache's key records them.
    image_vectors: whether to compute the pyramid's `vector` too. tokens: whether that vector has the tokens
    beside the maps instead. Raises InputError where the model has none.
    """

    def __init__(
        self,
        name: str,
        taps: Taps,
        chosen: Sequence[int],
        precision: str,
        sha256: str,
        origin: str,
        image_vectors: bool = False,
        tokens: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.spec = PyramidSpec(tuple(taps.available[k] for k in chosen))
        self.mean, self.std = taps.mean, taps.std
        self.precision = precision
        self.weights_sha256, self.weights_origin = sha256, origin
        self.taps, self.chosen = taps, tuple(chosen)
        if image_vectors and taps.image_vector is None:
            raise InputError(
                f"--image-vectors: backbone {name} has neither a class token nor a pooling before its "
                "classifier; leave it out, or choose another backbone"
            )
        if tokens and not taps.tokens:
            raise InputError(
                f"--tokens: backbone {name} has no tokens beside its maps; leave it out, or choose a plain "
                "ViT"
            )
        self.image_vector = taps.image_vector if image_vectors else None
        if tokens:
            self.image_vector = VectorSpec(PREFIX_TOKENS, taps.tokens * sum(self.spec.channels))
        self._net = taps.build(chosen, image_vectors)
        self._by_canvas: dict[HW, TappedNet] = {}
        self.requires_grad_(False)
        self.eval()

    @property
    def divisor(self) -> int:
        """The number of which canvas sides must be multiples."""
        return math.lcm(*self.spec.strides)

    @property
    def parameters_count(self) -> int:
        return sum(p.numel() for p in self._net.parameters())

    @property
    def device(self) -> torch.device:
        return next(self._net.parameters()).device

    def insert(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        """Apply `change` to the output of the net's module `name`, before any other module sees it."""
        # The copies that are fitted to a canvas share a closure; a module would be copied.
        self._net.get_submodule(name).register_forward_hook(lambda _module, _args, out: change(out))
        self._by_canvas.clear()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever `mode` is, since the statistics of BatchNorm must not change."""
        return super().train(False)

    def forward(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """Compute the pyramid without a graph.

        canvases: (B, H, W, 3) uint8 on this module's device. content_hw: B sizes in px.
        """
        with torch.no_grad():
            return self.pyramid(canvases, content_hw)

    def pyramid(self, canvases: Tensor, content_hw: Sequence[HW]) -> FeaturePyramid:
        """Compute the pyramid as `forward` does, with a graph where an inserted module is trained."""
        canvas_hw = (int(canvases.shape[1]), int(canvases.shape[2]))
        with exact(self.precision, canvases.device):
            x = self.normalised(canvases, content_hw)
            maps, vector = self._computed(x, canvas_hw, content_hw)
            floats = tuple(m.float().contiguous() for m in maps)
            return FeaturePyramid(
                self.spec,
                floats,
                canvas_hw,
                None if vector is None else vector.float().contiguous(),
            )

    def flops(self, canvas_hw: HW) -> int:
        """Count the floating-point operations for one canvas; multiply and add count as two."""
        from torch.utils.flop_counter import FlopCounterMode

        canvas = torch.zeros((1, *canvas_hw, 3), dtype=torch.uint8, device=self.device)
        with FlopCounterMode(display=False) as counter:
            self(canvas, [canvas_hw])
        return int(counter.get_total_flops())

    def normalised(self, canvases: Tensor, content_hw: Sequence[HW]) -> Tensor:
        """Normalise canvases (B, H, W, 3) uint8 to (B, 3, H, W) float32; the padding becomes zero."""
        x = canvases.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (self.mean, self.std))
        x = (x / 255.0 - mean) / std
        for image, (rows, columns) in zip(x, content_hw, strict=True):
            image[:, rows:, :] = 0
            image[:, :, columns:] = 0
        return x

    def _computed(
        self, x: Tensor, canvas_hw: HW, content_hw: Sequence[HW]
    ) -> tuple[list[Tensor], Tensor | None]:
        """Compute the maps, and the vectors where they are requested."""
        try:
            net = self.net_for(canvas_hw)
            if self.image_vector is not None and self.image_vector.of_tokens:
                return net.with_tokens(x)
            if self.image_vector is not None:
                return net.with_vector(x, content_hw)
            maps: list[Tensor] = net(x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError) as error:
            native_hw = self.taps.native_hw
            if native_hw in (None, canvas_hw):
                raise
            raise InputError(
                f"backbone {self.name} cannot take canvases of {canvas_hw} (h, w) px; expected "
                f"{native_hw}: use --size"
            ) from error
        return maps, None

    def net_for(self, canvas_hw: HW) -> TappedNet:
        """Return the net for a canvas; one with position embeddings or windows is fitted to it once."""
        if not self.taps.sized:
            return self._net
        if canvas_hw not in self._by_canvas:
            fitted = copy.deepcopy(self._net)
            fitted.model.set_input_size(canvas_hw)  # type: ignore[operator,union-attr]
            self._by_canvas[canvas_hw] = fitted.requires_grad_(False).eval()
        return self._by_canvas[canvas_hw]


@contextmanager
def exact(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in this precision only within the block, also within a training step of half precision."""
    half = PRECISIONS[precision] if precision != "fp32" else None
    # TF32 is not fp32: it keeps only ten bits of the mantissa.
    strict = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with (
        torch.autocast(device.type, dtype=half, enabled=half is not None),
        strict if half is None and device.type == "cuda" else nullcontext(),
    ):
        yield
