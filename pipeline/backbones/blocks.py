"""The blocks of a model, found by what it computes and not by the names of its modules.

A probe passes through the model and leaves a graph. The trunk consists of the steps that every path from
the image to a map goes through. A residual block is a module whose output lies on the trunk, as the sum (or
concatenation) of paths, while the output of no layer within it does. So the attention and the MLP of a
transformer's block are not blocks, since skip connections lead past them; nor is squeeze and excitation,
which multiplies.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .frozen import FrozenBackbone
from .taps import HW

Node: TypeAlias = torch.autograd.graph.Node
_SUMS = ("AddBackward", "CatBackward")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a model.

    name: the name of the module in the backbone's net. stage: the position of the level that it is computed
    for. channels: the number of channels of its output. axis: the dimension of the channels.
    """

    name: str
    stage: int
    channels: int
    axis: int


def find_blocks(backbone: FrozenBackbone, canvas_hw: HW) -> list[Block]:
    """Find the blocks stage by stage, for every level up to the pyramid's last, used by it or not.

    Where the map of a level is not the output of a residual block, the outermost module of several layers
    that outputs it, if there is one, counts as a block too. canvas_hw: a canvas size to come, for a model
    that is fitted to its canvas.
    """
    taps = backbone.taps
    count = max(backbone.chosen) + 1
    net = copy.deepcopy(taps.build(range(count))).eval().requires_grad_(False)
    backbone.eval()  # Building prunes timm's model again, and its new containers begin in training mode.
    side = 2 * taps.available[count - 1].stride
    # The ratio shows which dimensions of a map are rows and columns: channels hardly ever have it.
    probe_hw = taps.native_hw or (side, 3 * side)
    if taps.sized:
        probe_hw = canvas_hw
        net.model.set_input_size(canvas_hw)  # type: ignore[operator,union-attr]
    device = next(net.parameters()).device
    probe = torch.zeros((1, 3, *probe_hw), device=device, requires_grad=True)
    with torch.enable_grad():
        traced = _Traced(net, probe)
    usual = 3 if getattr(taps.model, "output_fmt", "NCHW") == "NHWC" else 1
    found: dict[str, Block] = {}
    for stage, map_ in enumerate(traced.maps):
        assert map_.grad_fn is not None
        for name in traced.blocks(map_.grad_fn):
            shape = traced.calls[name][0].shape
            axis = _channel_axis(shape, probe_hw, usual)
            found.setdefault(name, Block(name, stage, shape[axis], axis))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Call:
    """The output of a module: the step that computed it, and its shape."""

    node: Node
    shape: tuple[int, ...]


@dataclass
class _Traced:
    """A net and what a probe left in it.

    calls: the calls of each module, by name. layers: the modules with parameters that were called, by name.
    """

    net: nn.Module
    probe: Tensor
    calls: dict[str, list[_Call]] = field(default_factory=lambda: defaultdict(list))
    maps: Sequence[Tensor] = field(init=False)
    layers: Mapping[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        for name, module in self.net.named_modules():
            module.register_forward_hook(self._note(name))
        self.maps = self.net(self.probe)
        self.layers = {
            n: m for n, m in self.net.named_modules() if n in self.calls and _has_parameters(m)
        }

    def blocks(self, last: Node) -> list[str]:
        """Return the names of all blocks on the way to the map that step `last` computed."""
        residual = list(self._residual(_trunk(last)))
        if any(self.calls[n][0].node is last for n in residual):
            return residual
        final = [n for n in self._composite() if self.calls[n][0].node is last]
        return [*residual, *final[:1]]

    def _residual(self, trunk: Sequence[Node]) -> Iterator[str]:
        """Yield the names of the residual blocks in the order of the model."""
        positions = {node: k for k, node in enumerate(trunk)}
        on_trunk = {n for n in self.layers if any(c.node in positions for c in self.calls[n])}
        for name in self._composite():
            within = [n for n in self.layers if n.startswith(f"{name}.")]
            if name in on_trunk and within and not on_trunk.intersection(within):
                behind = trunk[positions[self.calls[name][0].node] :]
                joined = next((node for node in behind if len(_inputs(node)) > 1), None)
                if joined is not None and joined.name().startswith(_SUMS):
                    yield name

    def _composite(self) -> Iterator[str]:
        """Yield the names of modules of several layers, called once, that can output a map or tokens."""
        for name, module in self.layers.items():
            calls = self.calls[name]
            once = len(calls) == 1 and len(calls[0].shape) in (3, 4)
            if once and any(map(_has_parameters, module.children())):
                yield name

    def _note(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.grad_fn is not None:
                self.calls[name].append(_Call(out.grad_fn, tuple(out.shape)))

        return hook


def _trunk(last: Node) -> list[Node]:
    """Return the steps that every path to the image goes through, from the last to the first.

    A step is visited once all steps that use it have been. Where no other step is then waiting, all paths
    meet in it.
    """
    uses = Counter({last: 1})
    for node in _reached(last):
        uses.update(_inputs(node))
    trunk, ready, pending = [], [last], 1
    seen = Counter({last: 1})
    while ready:
        node = ready.pop()
        pending -= uses[node]
        if not pending:
            trunk.append(node)
        for earlier in _inputs(node):
            pending += 1
            seen[earlier] += 1
            if seen[earlier] == uses[earlier]:
                ready.append(earlier)
    return trunk


def _reached(last: Node) -> set[Node]:
    found, waiting = {last}, [last]
    while waiting:
        new = {n for n in _inputs(waiting.pop()) if n not in found}
        found |= new
        waiting += new
    return found


def _inputs(node: Node) -> list[Node]:
    """Return the input steps of a step; all lead to the image, for nothing else needs a gradient."""
    return [earlier for earlier, _ in node.next_functions if earlier is not None]


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _channel_axis(shape: Sequence[int], canvas_hw: HW, usual: int) -> int:
    """Return the axis of the channels: the last one for tokens (B, N, C).

    For maps it is the axis whose removal leaves rows and columns in the ratio of the canvas, or `usual`
    where that does not decide.
    """
    if len(shape) == 3:
        return 2
    rows, columns = canvas_hw
    first = shape[2] * columns == shape[3] * rows
    last = shape[1] * columns == shape[2] * rows
    if first == last:
        return usual
    return 1 if first else 3
