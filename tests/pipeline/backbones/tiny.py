"""Models of families of which timm has none that is small, under names of their own."""

from typing import Any

import timm
from timm.models import register_model


@register_model
def tiny_swin(pretrained: bool = False, **_: Any) -> Any:
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        embed_dim=12,
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 2, 4),
        window_size=2,
    )


@register_model
def tiny_vit_reg(pretrained: bool = False, **_: Any) -> Any:
    """A plain ViT with a class token and four registers."""
    return timm.create_model(
        "vit_small_patch14_reg4_dinov2",
        img_size=64,
        patch_size=16,
        embed_dim=24,
        depth=4,
        num_heads=2,
    )


SWIN, VIT = "tiny_swin", "tiny_vit_reg"
