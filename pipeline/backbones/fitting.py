"""The canvases that a backbone takes, known before anything is written.

A canvas fits where every map has as many rows and columns as the canvas over the level's stride, rounded up.
Whether it does is found by passing a canvas without values through the model, on torch's meta device.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ...cache.errors import FdetError, InputError
from ..dataset.images.views import ResizeRule
from .frozen import FrozenBackbone
from .taps import HW, TappedNet

log = logging.getLogger(__name__)

# By how much the canvases may grow for the sake of the backbone; more than this is a wrong size.
_MAX_GROWTH = 2.0
# The largest multiple of the coarsest stride that windows of known models need is 8.
_MULTIPLES = range(2, 17)
_MAX_TRIED, _MAX_NAMED = 16, 4


def fitting_rule(backbone: FrozenBackbone, short: int, long: int, square: bool) -> ResizeRule:
    """Return the resize rule for a backbone; all canvases that it can give fit the backbone.

    Their sides are multiples of the coarsest stride, or of a larger number where the backbone needs that. It
    depends on the backbone and the options alone, so that training and validation have the same. Raises
    InputError where no such rule is found, with sizes that fit.
    """
    rule = ResizeRule(short, long, square, backbone.divisor)
    probe = _Probe(backbone)
    misfit = probe.first_misfit(rule)
    if misfit is None:
        return rule
    for raised in _raised(rule, backbone.taps.native_hw):
        if _area(raised) <= _MAX_GROWTH * _area(rule) and probe.first_misfit(raised) is None:
            log.warning(
                "canvas sides are multiples of %d px and not of %d px, which takes %.0f %% more area: "
                "backbone %s %s",
                *(raised.divisor, rule.divisor, 100 * (_area(raised) / _area(rule) - 1)),
                *(backbone.name, misfit),
            )
            return raised
    raise InputError(f"backbone {backbone.name} {misfit}; {_advice(backbone, probe, rule, misfit)}")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a canvas does not fit. levels: the names of the levels whose maps would be right nevertheless."""

    canvas_hw: HW
    reason: str
    levels: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows, columns = self.canvas_hw
        return f"cannot take canvases of {rows}x{columns} px: {self.reason}"


@dataclass
class _Probe:
    """The passes of canvases without values through a backbone.

    The first canvas that fails is passed with values too, since some models cannot compute without them.
    _nets: the copy without values, and the backbone's own net until it is known which of both to ask.
    """

    backbone: FrozenBackbone
    _nets: list[TappedNet] = field(init=False)
    _known: dict[HW, Misfit | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._nets = [_without_values(self.backbone._net), self.backbone._net]

    def first_misfit(self, rule: ResizeRule) -> Misfit | None:
        """Return why a canvas of the rule does not fit, or None where all of them do."""
        return next(filter(None, map(self.misfit, canvases_of(rule))), None)

    def misfit(self, canvas_hw: HW) -> Misfit | None:
        if canvas_hw not in self._known:
            self._known[canvas_hw] = self._tried(canvas_hw)
        return self._known[canvas_hw]

    def _tried(self, canvas_hw: HW) -> Misfit | None:
        failure = ""
        for position, net in enumerate(self._nets):
            try:
                maps = _maps(self.backbone, net, canvas_hw)
            except (FdetError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # Every model refuses a size in its own way.
                failure = _first_line(error)
                continue
            if position:
                self._nets = [net]
            return _compared(self.backbone, maps, canvas_hw)
        self._nets = self._nets[:1]
        return Misfit(canvas_hw, failure)


def _without_values(net: TappedNet) -> TappedNet:
    """Return a copy of a net on the meta device, which takes no memory."""
    tensors = [*net.parameters(), *net.buffers()]
    empty: dict[int, Tensor] = {}
    for tensor in tensors:
        bare = tensor.detach().to("meta")
        empty[id(tensor)] = (
            nn.Parameter(bare, requires_grad=False) if isinstance(tensor, nn.Parameter) else bare
        )
    return copy.deepcopy(net, empty)


def _maps(backbone: FrozenBackbone, net: TappedNet, canvas_hw: HW) -> Sequence[Tensor]:
    """Pass one canvas through the net, as the backbone does; only its size counts."""
    if backbone.taps.sized:
        net = copy.deepcopy(net)
        net.model.set_input_size(canvas_hw)  # type: ignore[operator,union-attr]
    device = next(net.parameters()).device
    x = torch.zeros((1, 3, *canvas_hw), device=device)
    with torch.no_grad():
        if backbone.image_vector is not None and not backbone.image_vector.of_tokens:
            return net.eval().with_vector(x, [canvas_hw])[0]
        maps: Sequence[Tensor] = net.eval()(x)
    return maps


def _compared(backbone: FrozenBackbone, maps: Sequence[Tensor], canvas_hw: HW) -> Misfit | None:
    """Compare the maps of a canvas with the backbone's levels."""
    right, wrong = [], []
    for level, x in zip(backbone.spec.levels, maps, strict=True):
        found, expected = tuple(x.shape[1:]), level.shape(canvas_hw)
        if found == expected:
            right.append(level.name)
        else:
            given, wanted = ("x".join(map(str, shape)) for shape in (found, expected))
            wrong.append(
                f"level {level.name} of stride {level.stride} has a map of {given} (channels, rows, "
                f"columns), expected {wanted}"
            )
    return Misfit(canvas_hw, wrong[0], tuple(right)) if wrong else None


def canvases_of(rule: ResizeRule) -> Iterator[HW]:
    """Yield each canvas that the rule has for landscape images of any aspect ratio, and one rotated."""
    images = [(rule.short, side) for side in range(rule.short, rule.long + 1)]
    images += [(side, rule.long) for side in range(rule.short - 1, 0, -1)]
    landscape = dict.fromkeys(map(rule.canvas_hw, images))
    yield from landscape
    yield from [(columns, rows) for rows, columns in landscape if rows != columns][:1]


def _raised(rule: ResizeRule, native_hw: HW | None) -> Iterator[ResizeRule]:
    """Yield the rule with larger divisors, ascending: multiples of its own, and a model's only size."""
    divisors = {rule.divisor * k for k in _MULTIPLES}
    if native_hw is not None and native_hw[0] == native_hw[1]:
        divisors.add(native_hw[0])
    for divisor in sorted(divisors - {rule.divisor}):
        yield replace(rule, divisor=divisor)


def _area(rule: ResizeRule) -> float:
    """Return the mean area of the rule's canvases over all aspect ratios."""
    areas = [rows * columns for rows, columns in canvases_of(rule)]
    return sum(areas) / len(areas)


def _advice(backbone: FrozenBackbone, probe: _Probe, rule: ResizeRule, misfit: Misfit) -> str:
    """Return what fits instead: sizes, or fewer levels, or another backbone."""
    sizes = _sizes(backbone, probe, rule)
    if sizes:
        return f"sizes that fit: --size {', '.join(map(str, sizes))}"
    if misfit.levels:
        return f"levels that fit: --levels {','.join(misfit.levels)}"
    return "no size fits its maps; choose another backbone"


def _sizes(backbone: FrozenBackbone, probe: _Probe, rule: ResizeRule) -> list[int]:
    """Return the sides of some square canvases that fit, those nearest to the rule's size."""
    native, divisor = backbone.taps.native_hw, backbone.divisor
    if native is not None and probe.misfit(native) is None:
        return [native[0]]
    sides = [divisor * k for k in range(1, 2 * rule.long // divisor + 9)]
    fitting: list[int] = []
    for side in sorted(sides, key=lambda side: abs(side - rule.long))[:_MAX_TRIED]:
        if len(fitting) < _MAX_NAMED and probe.misfit((side, side)) is None:
            fitting.append(side)
    return sorted(fitting)


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0][:160]
    return text or "a layer cannot divide its maps into windows"
