"""A net that is cut at the map of one level: what lies behind it runs from that map alone.

Where a level may be cut is asked of the model. A probe passes through it, and shows which module outputs the
level's map, and which modules are done by then. These then output constants of the same shapes in no time. If
the coarser maps depend on any of these constants, the model sees more than the level's map, and it is no cut.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .taps import HW, TappedNet

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """The place where a net is cut.

    module: the name of the module whose output is the map. prefix: the number of tokens (class, registers)
    that its output has before those of the cells, or None where its output is a map. axis: the dimension of
    the channels in that output. order: its dimensions as they lie in memory, the outermost first, since that
    decides the last bits of what is computed from it. trunk: the modules that are done by then and not called
    again, each without the modules inside it.
    """

    module: str
    prefix: int | None
    axis: int
    order: tuple[int, ...]
    trunk: tuple[str, ...]

    def as_output(self, map_: Tensor, tokens: Tensor | None) -> Tensor:
        """Bring a map (B, C, H, W), and tokens (B, P, C) if there are any, into the layout of the output."""
        if self.prefix is None:
            output = map_.movedim(1, self.axis)
        else:
            cells = map_.flatten(2).mT
            output = cells if tokens is None else torch.cat([tokens, cells], dim=1)
        inverse = [self.order.index(k) for k in range(output.ndim)]
        return output.permute(self.order).contiguous().permute(inverse)


@dataclass(slots=True)
class _Given:
    """The input of the current pass: the map in the output's layout, and the canvas it belongs to."""

    output: Tensor | None = None
    canvas_hw: HW = (0, 0)
    fill: float = 0.0


class NoCut(Exception):
    """A level at which a model cannot be cut."""


class CutNet(nn.Module):
    """A net from the map of a level to the maps behind it.

    net: a net whose first map is that of the level; it is taken over. probe_hw: the canvas of the probe.
    Raises NoCut where the maps behind see more than that map; the net is then as it was.
    """

    def __init__(self, net: TappedNet, probe_hw: HW) -> None:
        super().__init__()
        self.net = net
        # A tuple hides the twin from torch: it has no values, and nothing to save.
        self._twin = (_without_values(net),)
        self._given = _Given()
        probe = _probed(net, _noise(probe_hw, next(net.parameters()).device))
        self.cut = probe.cut
        self._map_shape = tuple(probe.maps[0].shape)
        self._probe_hw = probe_hw
        self._shapes: dict[HW, Mapping[str, Shape]] = {probe_hw: probe.shapes}
        self._bypass()
        try:
            self._check(probe)
        except NoCut:
            self._restore()
            raise

    def forward(self, map_: Tensor, canvas_hw: HW, tokens: Tensor | None = None) -> list[Tensor]:
        """Compute the maps behind the cut from its map (B, C, H, W) and the tokens (B, P, C) before it."""
        if canvas_hw not in self._shapes:
            image = torch.zeros((1, 3, *canvas_hw), device="meta")
            self._shapes[canvas_hw] = _noted(self._twin[0], image)[1].shapes(self.cut.trunk)
        given = self._given
        given.output, given.canvas_hw = self.cut.as_output(map_, tokens), canvas_hw
        try:
            image = map_.new_zeros(()).expand(map_.shape[0], 3, *canvas_hw)
            maps: list[Tensor] = self.net(image)
        finally:
            given.output = None
        return maps[1:]

    def of_zeros(self) -> list[Tensor]:
        """Compute the maps behind the cut from a map of zeros, as a probe of what they depend on."""
        map_ = torch.zeros(self._map_shape, device=next(self.parameters()).device)
        tokens = map_.new_zeros((1, self.cut.prefix, map_.shape[1])) if self.cut.prefix else None
        maps: list[Tensor] = self(map_, self._probe_hw, tokens)
        return maps

    def insert(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        """Apply `change` to the output of the module `name`, before any other module sees it."""
        self.net.get_submodule(name).register_forward_hook(lambda _module, _args, out: change(out))

    def _bypass(self) -> None:
        """Let the module at the cut output what is given, and those before it constants."""
        given, shapes = self._given, self._shapes  # Closures of these alone can be copied.

        def constant(name: str) -> Callable[..., Tensor]:
            def forward(*_args: Any, **_options: Any) -> Tensor:
                assert given.output is not None
                shape = shapes[given.canvas_hw][name]
                one = given.output.new_full((), given.fill)
                return one.expand(given.output.shape[0], *shape[1:])

            return forward

        def given_output(*_args: Any, **_options: Any) -> Tensor:
            assert given.output is not None
            return given.output

        for name, module in self._passed_by():
            at_cut = name == self.cut.module
            module.forward = given_output if at_cut else constant(name)

    def _restore(self) -> None:
        for _, module in self._passed_by():
            del module.forward

    def release(self) -> None:
        """Let go of the weights of all modules that are passed by."""
        for _, module in self._passed_by():
            for inner in module.modules():
                for tensors in (inner._parameters, inner._buffers):
                    tensors.update(dict.fromkeys(tensors))
                if isinstance(inner, _BatchNorm):
                    # Otherwise torch asks for a number of batches when weights are loaded.
                    inner.track_running_stats = False

    def _passed_by(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the modules that are not computed, with their names."""
        for name in (*self.cut.trunk, self.cut.module):
            yield name, self.net.get_submodule(name)

    def _check(self, probe: _Probe) -> None:
        """Raise NoCut where the maps behind depend on anything but the cut's map."""
        map_, *behind = probe.maps
        results = []
        with torch.no_grad():
            for fill in (0.0, 1.0):
                self._given.fill = fill
                results.append(self(map_, self._probe_hw, probe.tokens))
        self._given.fill = 0.0
        for zero, one, whole in zip(*results, behind, strict=True):
            close = torch.allclose(zero, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))
            if not (torch.equal(zero, one) and close):
                raise NoCut


@dataclass(slots=True)
class _Probe:
    """The result of passing one image: the cut, all maps, the tokens of the first, and outputs' shapes."""

    cut: Cut
    maps: list[Tensor]
    tokens: Tensor | None
    shapes: Mapping[str, Shape]


@dataclass(slots=True)
class _Calls:
    """The modules of a net in the order in which their calls ended, and the output of each of the calls."""

    order: list[str] = field(default_factory=list)
    outputs: dict[str, list[Any]] = field(default_factory=dict)

    def note(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        """Return a hook that notes the output of a module as it is now, before anything changes it."""

        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            self.order.append(name)
            now = out.clone() if isinstance(out, Tensor) else out
            self.outputs.setdefault(name, []).append(now)

        return hook

    def shapes(self, names: Sequence[str]) -> dict[str, Shape]:
        """Return the shape of the output of each of these modules."""
        return {name: tuple(self.outputs[name][0].shape) for name in names}


def _without_values(net: TappedNet) -> TappedNet:
    """Return a copy of a net that computes shapes alone and takes no memory."""
    tensors = (*net.parameters(), *net.buffers())
    memo: dict[int, Any] = {id(x): nn.Parameter(x.to("meta"), requires_grad=False) for x in tensors}
    return copy.deepcopy(net, memo).eval()


def _noise(canvas_hw: HW, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((1, 3, *canvas_hw), generator=generator).to(device)


def _noted(net: TappedNet, image: Tensor) -> tuple[list[Tensor], _Calls]:
    """Pass an image through a net; return its maps and the calls of its modules."""
    calls = _Calls()
    modules = [(name, module) for name, module in net.named_modules() if name]
    hooks = [module.register_forward_hook(calls.note(name)) for name, module in modules]
    try:
        with torch.no_grad():
            return net(image), calls
    finally:
        for hook in hooks:
            hook.remove()


def _probed(net: TappedNet, image: Tensor) -> _Probe:
    """Pass an image through a net. Raises NoCut where no module outputs its first map."""
    maps, calls = _noted(net, image)
    found = [
        (name, layout)
        for name, outputs in calls.outputs.items()
        if len(outputs) == 1 and (layout := _layout(outputs[0], maps[0])) is not None
    ]
    if not found:
        raise NoCut
    # The outermost module: those inside it have the same output.
    name, (prefix, axis) = min(found, key=lambda each: each[0].count("."))
    position = calls.order.index(name)
    done = set(calls.order[:position]) - set(calls.order[position + 1 :])
    outer = sorted(n for n in done if not any(n.startswith(f"{o}.") for o in (*done, name)))
    if not all(_is_map(calls.outputs[n]) for n in outer):
        raise NoCut
    output = calls.outputs[name][0]
    tokens = output[:, :prefix] if prefix else None
    cut = Cut(name, prefix, axis, _order(output), tuple(outer))
    return _Probe(cut, maps, tokens, calls.shapes(outer))


def _order(x: Tensor) -> tuple[int, ...]:
    """Return the dimensions of a tensor as they lie in memory, the outermost first: that of the images."""
    strides = x.stride()
    inner = sorted(range(1, x.ndim), key=lambda k: (-strides[k], k))
    return (0, *inner)


def _is_map(outputs: Sequence[Any]) -> bool:
    """Return whether each call of a module gave one tensor, of one shape with the image first."""
    tensors = [out for out in outputs if isinstance(out, Tensor)]
    shapes = {tuple(out.shape) for out in tensors}
    return len(tensors) == len(outputs) and len(shapes) == 1 and next(iter(shapes))[:1] == (1,)


def _layout(out: Any, map_: Tensor) -> tuple[int | None, int] | None:
    """Return how an output holds a map (1, C, H, W): the tokens before it, and its axis of channels.

    None stands for tokens where it is a map itself, and for all where it does not hold the map.
    """
    if not isinstance(out, Tensor):
        return None
    for axis in (1, 3):
        if out.ndim == 4 and torch.equal(out, map_.movedim(1, axis)):
            return None, axis
    cells = math.prod(map_.shape[2:])
    if out.ndim == 3 and out.shape[1] >= cells and out.shape[2] == map_.shape[1]:
        prefix = int(out.shape[1]) - cells
        if torch.equal(out[:, prefix:].mT.reshape(map_.shape), map_):
            return prefix, 2
    return None
