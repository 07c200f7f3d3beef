"""--tokens: the tokens that a plain ViT has beside its maps, from the extraction to a batch."""

import shutil

import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.codecs.codec import codec_of
from fdet.cache.errors import CorruptCache, InputError
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.vectors import vectors_name
from fdet.cache.loader import BatchReader, load_batch
from fdet.cache.pyramid import VectorSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import ResidentSamples, resident_bytes
from fdet.pipeline.backbones.loading import load_backbone, load_backbone_of
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.images.canvases import recipe_of, render
from fdet.pipeline.extraction.checks import check_extraction
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.planning.measure import contents_of
from fdet.pipeline.tools.upkeep.convert import Conversion, convert

from ..backbones.tiny import VIT
from ..quick import flip_bit, quick

CPU = torch.device("cpu")
TAPS = {"backbone": VIT, "levels": None, "taps": "1,3", "tokens": True}
# A class token and four registers of 24 channels, at two blocks.
SPEC = VectorSpec("prefix-tokens", 2 * 5 * 24)
SAMPLES = [(31, 1), (10, 0)]


@pytest.fixture(scope="module")
def cache(dataset, tmp_path_factory):
    """Read only; the codec is that of maps alone."""
    out = tmp_path_factory.mktemp("tokens") / "c.fdet"
    extract(quick(dataset, out, codec="int8", **TAPS))
    return out


def live(cache, dataset, image_id, view):
    header = CacheHeader.read(cache)
    recipe = recipe_of(header.key, dataset.parent / "images")
    shown = render(recipe, header.layout.image(image_id), (view,))
    backbone = load_backbone_of(header.key, CPU, image_vectors=True)
    canvas = torch.from_numpy(shown.pixels[:1])
    return backbone(canvas, [shown.placements[0].content_hw])


def test_a_cache_keeps_the_tokens_of_each_block_as_they_are(cache, dataset):
    key = CacheHeader.read(cache).key
    assert key.levels.names == ("block1", "block3") and key.image_vector == SPEC
    for sample in SAMPLES:
        kept = torch.from_numpy(FeatureCache.open(cache).vector(*sample))
        assert torch.equal(kept, live(cache, dataset, *sample).vector[0])


def test_map_and_tokens_are_the_whole_sequence_of_a_block(cache, dataset):
    """What the block itself outputs, by a hook."""
    found = live(cache, dataset, *SAMPLES[0])
    whole = load_backbone(VIT, weights="random", levels=["block1", "block3"])
    outputs = []
    net = whole.net_for((64, 64))
    net.model.blocks[1].register_forward_hook(lambda _m, _a, out: outputs.append(out))
    header = CacheHeader.read(cache)
    recipe = recipe_of(header.key, dataset.parent / "images")
    shown = render(recipe, header.layout.image(SAMPLES[0][0]), (SAMPLES[0][1],))
    whole(torch.from_numpy(shown.pixels[:1]), [shown.placements[0].content_hw])
    tokens = found.vector[:, : 5 * 24].view(1, 5, 24)
    sequence = torch.cat([tokens, found.maps[0].flatten(2).mT], dim=1)
    assert torch.equal(sequence, outputs[0])


@pytest.mark.parametrize("resident", [False, True])
def test_batches_have_them_beside_the_maps(cache, resident):
    opened = FeatureCache.open(cache)
    kept = ResidentSamples(opened.header, CPU) if resident else None
    reader = BatchReader(opened, resident=kept)
    codec = codec_of(cache, opened.header.key, CPU)
    expected = torch.from_numpy(opened.vectors(SAMPLES))
    for _ in range(2):
        pyramid = reader.read(SAMPLES).decode(codec, CPU)
        assert torch.equal(pyramid.vector, expected)
        assert [x.shape[1] for x in pyramid.maps] == [24, 24]
    maps = sum(x.nbytes for x in opened.empty_maps(31, 24))
    assert resident_bytes(opened.header) == maps + 24 * SPEC.nbytes


def test_vectors_of_whole_images_are_not_read_with_the_maps(dataset, tmp_path):
    extract(quick(dataset, tmp_path / "c", image_vectors=True))
    cache = FeatureCache.open(tmp_path / "c")
    batch = load_batch(cache, SAMPLES)
    assert batch.tokens is None
    assert batch.decode(codec_of(tmp_path / "c", cache.header.key, CPU), CPU).vector is None


def test_a_damaged_file_of_tokens_is_found_and_its_samples_are_skipped(cache, tmp_path):
    broken = shutil.copytree(cache, tmp_path / "c")
    header = CacheHeader.read(broken)
    number, _ = header.layout.locate(*SAMPLES[0])
    name = header.layout.shards[number].name
    flip_bit(broken / vectors_name(name), 400)
    with pytest.raises(CorruptCache, match="its bytes are not those"):
        BatchReader(FeatureCache.open(broken)).read(SAMPLES)
    reader = BatchReader(FeatureCache.open(broken), on_corrupt="skip")
    batch = reader.read(SAMPLES)
    assert SAMPLES[0] in reader.skipped and SAMPLES[0] not in batch.samples
    assert len(batch.tokens) == len(batch.samples) == len(batch.maps[0])


def test_a_conversion_keeps_them(cache, tmp_path):
    convert(cache, tmp_path / "c", Conversion(codec="int5"))
    one, other = FeatureCache.open(cache), FeatureCache.open(tmp_path / "c")
    assert other.header.key.image_vector == SPEC
    assert (one.vectors(SAMPLES) == other.vectors(SAMPLES)).all()


def test_a_plan_counts_them(cache):
    header = CacheHeader.read(cache)
    assert contents_of(header).overhead > SPEC.nbytes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_vectors": True}, "--tokens and --image-vectors: a cache keeps one of both"),
        ({"levels": "block1"}, "--taps and --levels both name the levels to keep"),
        ({"taps": "1,x"}, "--taps: expected numbers of blocks such as 8 or 3,8, got 'x'"),
        ({"taps": ""}, "--taps: expected numbers of blocks such as 8 or 3,8, got ''"),
    ],
)
def test_options_that_do_not_go_together_are_refused(dataset, tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        check_extraction(quick(dataset, tmp_path / "c", **{**TAPS, **changes}))


def test_a_backbone_without_tokens_is_refused(dataset, tmp_path):
    words = ["extract", dataset, "--out", tmp_path / "c", "--size", 64, "--tokens"]
    words += ["--backbone", "test_resnet", "--weights", "random"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2 and not (tmp_path / "c").exists()
    assert "--tokens: backbone test_resnet has no tokens beside its maps" in result.stderr
    more = [*words[:-2], "--weights", "random", "--taps", "9"]
    wrong = CliRunner().invoke(app, [str(w) for w in more if w != "--tokens"])
    assert wrong.exit_code == 2 and "has no level 'block9'" in wrong.stderr
