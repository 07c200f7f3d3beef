"""The blocks of a model, found by what it computes and not by what its modules are called.

A probe passes through the model with a graph behind it. The trunk are the steps that every path from the
image to a map goes through. A residual block is a module whose output lies on the trunk, as the sum (or
concatenation) of paths, while no layer within it does. So attention and MLP of a transformer's block are
none, since skip connections lead past them; nor is squeeze and excitation, which multiplies.
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
    """name: of the module, as the backbone's net calls it. stage: position of the level that it is
    computed for. channels: of its output, whose dimension `axis` they are.
    """

    name: str
    stage: int
    channels: int
    axis: int


def find_blocks(backbone: FrozenBackbone, canvas_hw: HW) -> list[Block]:
    """Stage by stage, of the levels that the pyramid leaves out too, up to its last.

    Where the map of a level is no residual block's output, the outermost module of several layers
    whose output it is, if there is one, counts as a block too. canvas_hw: one that will come, for a
    model that is fitted to it.
    """
    taps = backbone.taps
    count = max(backbone.chosen) + 1
    net = copy.deepcopy(taps.build(range(count))).eval().requires_grad_(False)
    backbone.eval()  # timm prunes again as it builds, and its new containers begin in training mode
    side = 2 * taps.available[count - 1].stride
    # So it shows which dimensions of a map are rows and columns: channels hardly have this ratio.
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
    """What a module gave: the step that made it, and its shape."""

    node: Node
    shape: tuple[int, ...]


@dataclass
class _Traced:
    """calls: of each module, by name; layers: those with parameters, by name."""

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
        """Names of all on the way to the map that step `last` made."""
        residual = list(self._residual(_trunk(last)))
        if any(self.calls[n][0].node is last for n in residual):
            return residual
        ends = [n for n in self._composite() if self.calls[n][0].node is last]
        return [*residual, *ends[:1]]

    def _residual(self, trunk: Sequence[Node]) -> Iterator[str]:
        """In the order of the model."""
        places = {node: k for k, node in enumerate(trunk)}
        on_trunk = {n for n in self.layers if any(c.node in places for c in self.calls[n])}
        for name in self._composite():
            within = [n for n in self.layers if n.startswith(f"{name}.")]
            if name in on_trunk and within and not on_trunk.intersection(within):
                behind = trunk[places[self.calls[name][0].node] :]
                joined = next((node for node in behind if len(_inputs(node)) > 1), None)
                if joined is not None and joined.name().startswith(_SUMS):
                    yield name

    def _composite(self) -> Iterator[str]:
        """Of several layers, called once, with an output that can be a map or tokens."""
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
    """The steps that every path to the image goes through, from the last to the first.

    Steps are taken up once all that use them are; where no other step is then waiting, all paths meet.
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
    """The steps that it takes from; all of them lead to the image, for nothing else needs a gradient."""
    return [earlier for earlier, _ in node.next_functions if earlier is not None]


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _channel_axis(shape: Sequence[int], canvas_hw: HW, usual: int) -> int:
    """The last of tokens (B, N, C); of maps the one that leaves rows and columns as the canvas has them,
    and `usual` where that does not tell.
    """
    if len(shape) == 3:
        return 2
    rows, columns = canvas_hw
    first = shape[2] * columns == shape[3] * rows
    last = shape[1] * columns == shape[2] * rows
    if first == last:
        return usual
    return 1 if first else 3
