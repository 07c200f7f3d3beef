from fdet.cache.reader import FeatureCache


def test_it(exact_cache):
    assert len(FeatureCache.open(exact_cache)) == 12
