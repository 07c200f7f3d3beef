"""The query heads, by name; torch is imported when one of them is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...cache.pyramid import PyramidSpec
from ..family import HeadFamily
from .settings import QuerySettings

if TYPE_CHECKING:
    from ..detector import Head


def _query(spec: PyramidSpec, classes: int, settings: QuerySettings) -> Head:
    from .query_head import QueryHead

    return QueryHead(spec, classes, settings)


QUERY_HEADS: Mapping[str, HeadFamily] = {"query": HeadFamily(_query, QuerySettings)}
