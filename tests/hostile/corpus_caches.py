"""All hostile caches."""

from . import (
    corpus_annotation_copies,
    corpus_codecs,
    corpus_files,
    corpus_headers,
    corpus_records,
    corpus_shards,
    corpus_vectors,
)
from .cache_attempts import make_good

CASES = [
    *corpus_files.CASES,
    *corpus_headers.CASES,
    *corpus_records.CASES,
    *corpus_shards.CASES,
    *corpus_annotation_copies.CASES,
    *corpus_codecs.CASES,
    *corpus_vectors.CASES,
]

__all__ = ["CASES", "make_good"]
