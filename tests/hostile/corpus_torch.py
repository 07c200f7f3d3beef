"""All hostile inputs that torch has to do with: weights, runs, configurations."""

from . import corpus_runs, corpus_weights
from .corpus_runs import make_good

CASES = [*corpus_weights.CASES, *corpus_runs.CASES]

__all__ = ["CASES", "make_good"]
