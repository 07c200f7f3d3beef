"""transformers' RT-DETR and D-FINE without their backbones and encoders, with the weights of our head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DFineConfig, RTDetrConfig
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.d_fine.modeling_d_fine import DFineForObjectDetection
from transformers.models.rt_detr.modeling_rt_detr import RTDetrForObjectDetection

from fdet.cache.pyramid import FeaturePyramid, LevelSpec, PyramidSpec
from fdet.heads.query.boxes import shares_of
from fdet.heads.query.query_head import QueryHead
from fdet.heads.query.settings import QuerySettings

CHANNELS, CLASSES, HEADS, QUERIES, LAYERS, POINTS = 16, 5, 4, 12, 3, 2
LEVELS = PyramidSpec(tuple(LevelSpec(f"p{k}", 2**k, CHANNELS) for k in (3, 4, 5)))


def head_of(regression: str = "direct", **settings) -> QueryHead:
    """A head with weights that are all random, so that nothing begins with zero."""
    torch.manual_seed(0)
    known = {
        **{"queries": QUERIES, "layers": LAYERS, "attention_heads": HEADS, "points": POINTS},
        **{"ffn_channels": 24, "normaliser": "image", "denoising": 8, "score_threshold": 0.0},
    }
    head = QueryHead(LEVELS, CLASSES, QuerySettings(**known | settings, regression=regression))
    with torch.no_grad():
        for name, p in head.named_parameters():
            p.add_(torch.randn(p.shape) * (0.1 if name.endswith("offsets.bias") else 0.15))
    return head


def levels(images: int, canvas_hw: tuple[int, int]) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(images)
    maps = tuple(
        torch.randn(images, *level.shape(canvas_hw), generator=generator) for level in LEVELS.levels
    )
    return FeaturePyramid(LEVELS, maps, canvas_hw)


def config_of(head: QueryHead) -> RTDetrConfig | DFineConfig:
    distribution = head.distribution
    backbone = {
        "model_type": "rt_detr_resnet",
        **{"embedding_size": 4, "hidden_sizes": [4, 4, 4, 4], "depths": [1, 1, 1, 1]},
        **{"layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"]},
    }
    kind = DFineConfig if distribution else RTDetrConfig
    if distribution:
        backbone = {
            **{"model_type": "hgnet_v2", "stem_channels": [3, 4, 4]},
            **{"stage_in_channels": [4, 4, 4, 4], "stage_mid_channels": [4, 4, 4, 4]},
            **{"stage_out_channels": [4, 4, 4, 4], "stage_num_blocks": [1, 1, 1, 1]},
            **{"stage_numb_of_layers": [1, 1, 1, 1], "hidden_sizes": [4, 4, 4, 4]},
            **{"depths": [1, 1, 1, 1], "out_features": ["stage2", "stage3", "stage4"]},
        }
    return kind(
        backbone_config=backbone,
        d_model=CHANNELS,
        encoder_hidden_dim=CHANNELS,
        encoder_in_channels=[4, 4, 4],
        encoder_ffn_dim=24,
        encoder_attention_heads=HEADS,
        decoder_in_channels=[CHANNELS] * 3,
        decoder_layers=LAYERS,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=24,
        decoder_n_points=POINTS,
        num_queries=QUERIES,
        num_labels=CLASSES,
        num_denoising=head.settings.denoising,
        anchor_image_size=None,
        attn_implementation="eager",
    )


class GivenBackbone(nn.Module):
    """In place of their backbone: maps that are given, whatever the images show."""

    def __init__(self, given: FeaturePyramid) -> None:
        super().__init__()
        self.given = given

    def forward(self, *_) -> list[tuple[Tensor, None]]:
        return [(x, None) for x in self.given.maps]


class NoEncoder(nn.Module):
    """In place of their encoder."""

    def forward(self, given: list[Tensor], **_) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=given)


def identities() -> nn.ModuleList:
    return nn.ModuleList(nn.Identity() for _ in LEVELS.levels)


def theirs_of(
    head: QueryHead, given: FeaturePyramid
) -> RTDetrForObjectDetection | DFineForObjectDetection:
    """Their model around given levels, with the weights of `head`, in training mode."""
    kind = DFineForObjectDetection if head.distribution else RTDetrForObjectDetection
    model = kind(config_of(head))
    model.model.backbone, model.model.encoder = GivenBackbone(given), NoEncoder()
    model.model.encoder_input_proj = model.model.decoder_input_proj = identities()
    with torch.no_grad():
        for theirs, ours in _pairs(head, model.model):
            assert theirs.shape == ours.shape
            theirs.copy_(ours)
    return model.train()


def _pairs(head: QueryHead, model):
    """The parameters of their model and ours, pair by pair."""
    yield from _same(model.enc_output, head.selection.features)
    yield from _same(model.enc_score_head, head.selection.classifier)
    yield from _same(model.enc_bbox_head, head.selected_boxes)
    if head.noisy_labels is not None:
        yield model.denoising_class_embed.weight[:CLASSES], head.noisy_labels.table.weight
    decoder = model.decoder
    yield from _same(decoder.query_pos_head, head.position)
    for k, stage in enumerate(head.stages):
        yield from _same(decoder.class_embed[k], stage.classifier)
        yield from _same(decoder.bbox_embed[k], stage.boxes)
        yield from _of_layer(decoder.layers[k], stage.layer)
    if head.distribution:
        yield from _same(decoder.pre_bbox_head, head.first_boxes)
        for theirs, ours in zip(decoder.lqe_layers, head.quality, strict=True):
            yield from _same(theirs, ours)


def _of_layer(theirs, ours):
    names = {"q_proj": "query", "v_proj": "value", "o_proj": "output"}
    for their_name, name in names.items():
        yield from _same(getattr(theirs.self_attn, their_name), getattr(ours.self_attention, name))
    yield theirs.self_attn.k_proj.weight, ours.self_attention.key.weight
    yield from _same(theirs.self_attn_layer_norm, ours.self_norm)
    names = {"sampling_offsets": "offsets", "attention_weights": "weights"}
    if hasattr(theirs.encoder_attn, "value_proj"):
        names |= {"value_proj": "value", "output_proj": "output"}
        yield from _same(theirs.encoder_attn_layer_norm, ours.joined.norm)
    else:
        yield from _same(theirs.gateway, ours.joined)
    for their_name, name in names.items():
        yield from _same(
            getattr(theirs.encoder_attn, their_name), getattr(ours.cross_attention, name)
        )
    yield from _same(theirs.mlp, ours.feed_forward)
    yield from _same(theirs.final_layer_norm, ours.last_norm)


def _same(theirs: nn.Module, ours: nn.Module):
    """The parameters of two modules, which come in the same order."""
    yield from zip(theirs.parameters(), ours.parameters(), strict=True)


def labels_of(targets, canvas_hw) -> list[dict[str, Tensor]]:
    """Targets as transformers takes them."""
    return [{"class_labels": t.labels, "boxes": shares_of(t.boxes, canvas_hw)} for t in targets]
