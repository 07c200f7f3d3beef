"""NAS-FPN (Ghiasi et al., arXiv 1904.07392): the graph of seven merging cells that the paper found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ...cache.errors import ConfigError
from ...cache.pyramid import PyramidSpec
from ..convolutions import convolution, resampled
from ..norms import activation_layer
from ..repeated import RepeatedNeck
from .settings import NASFPNSettings


class Cell(NamedTuple):
    """A merging cell, which makes a new node at a level from two nodes.

    Nodes 0 to 4 are the inputs, finest first, and each cell adds the next node; the finest level is 0. The
    last five nodes are the outputs. added: inputs that no cell takes; the paper adds them to the output of
    their level.
    """

    level: int
    merge: Literal["attention", "sum"]
    inputs: tuple[int, int]
    added: tuple[int, ...] = ()


CELLS = (
    Cell(1, "attention", (1, 3)),
    Cell(1, "sum", (1, 5)),
    Cell(0, "sum", (0, 6)),
    Cell(1, "sum", (6, 7)),
    Cell(2, "attention", (7, 8), added=(2,)),
    Cell(4, "attention", (6, 9), added=(4,)),
    Cell(3, "attention", (9, 10)),
)
LEVELS = 5


class NASFPN(RepeatedNeck):
    """The seven cells, repeated `settings.repeats` times.

    Raises ConfigError for any number of levels except five.
    """

    def __init__(self, spec: PyramidSpec, settings: NASFPNSettings) -> None:
        low, high = settings.min_level, settings.max_level
        if high - low + 1 != LEVELS:
            raise ConfigError(
                f"setting 'neck.max_level': neck nas-fpn has exactly {LEVELS} levels, expected "
                f"{low + LEVELS - 1} with neck.min_level={low}, got {high}"
            )

        def graph(count: int) -> nn.Module:
            return MergingCells(settings)

        super().__init__(spec, settings, settings.norm, settings.repeats, graph)


class MergingCells(nn.Module):
    """One repeat of the cells, where each new node is activated, convolved 3x3 and normalised."""

    def __init__(self, settings: NASFPNSettings) -> None:
        super().__init__()
        n = settings.channels
        self.activation = (activation_layer(settings.activation) or nn.Identity)()
        self.convs = nn.ModuleList(convolution(n, n, 3, norm=settings.norm) for _ in CELLS)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return five maps of the same shapes as those given, (B, C, H_l, W_l) each, finest first."""
        nodes, levels = list(maps), list(range(LEVELS))
        for cell, conv in zip(CELLS, self.convs, strict=True):
            rows, columns = maps[cell.level].shape[-2:]
            merged = _merged(
                cell.merge,
                *(
                    resampled(nodes[k], cell.level - levels[k], (rows, columns))
                    for k in cell.inputs
                ),
            )
            for k in cell.added:
                merged = merged + nodes[k]
            nodes.append(conv(self.activation(merged)))
            levels.append(cell.level)
        outputs = zip(levels[-LEVELS:], nodes[-LEVELS:], strict=True)
        return [x for _, x in sorted(outputs, key=lambda output: output[0])]


def _merged(merge: str, other: Tensor, gate: Tensor) -> Tensor:
    """Add two nodes, the other one scaled by attention where `merge` says so.

    The scale is the sigmoid of the gate's largest value in each channel. The gate is the coarser of the two
    nodes, which in this graph is the second.
    """
    if merge == "attention":
        other = other * gate.amax((2, 3), keepdim=True).sigmoid()
    return gate + other
