"""The dense heads, by name."""

from collections.abc import Mapping

from .retinanet import RetinaNet, RetinaNetSettings

DENSE_HEADS: Mapping[str, tuple[type[RetinaNet], type[RetinaNetSettings]]] = {
    "retinanet": (RetinaNet, RetinaNetSettings)
}
