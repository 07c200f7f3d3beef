"""Frequencies of classes in images: LVIS' groups, and how often to repeat images that show rare classes.

Both are those of Gupta et al., arXiv 1908.03195.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..annotations import Annotations

# The maximum number of images that show a class of the group.
LIMITS = {"r": 10, "c": 100}


def class_images(annotations: Annotations, image_ids: Iterable[int]) -> npt.NDArray[np.int64]:
    """Count how many of these images show each class, (K,); crowds do not count."""
    _, labels = _class_pairs(annotations, list(image_ids))
    return np.bincount(labels, minlength=len(annotations.class_ids))


def frequencies(annotations: Annotations) -> tuple[str, ...]:
    """Return the group of each class: "r" for rare, "c" for common, "f" for frequent.

    The groups are those that the file names. Where it names none, they follow from how many of its images
    show the class: up to 10, up to 100, or more.
    """
    if annotations.declared is not None:
        return annotations.declared
    counts = class_images(annotations, (image.id for image in annotations.images)).tolist()
    return tuple(next((g for g, most in LIMITS.items() if n <= most), "f") for n in counts)


def repeat_factors(
    annotations: Annotations, image_ids: Sequence[int], threshold: float
) -> npt.NDArray[np.float64]:
    """Return how often to repeat each image, (images,): repeat factor sampling, section 4.1 of the paper.

    The factor is the maximum over the classes that an image shows of max(1, sqrt(threshold / f)), where f
    is the share of these images that show the class.
    """
    rows, labels = _class_pairs(annotations, image_ids)
    shares = np.bincount(labels, minlength=len(annotations.class_ids)) / max(1, len(image_ids))
    factors = np.ones(len(image_ids))
    np.maximum.at(factors, rows, np.sqrt(threshold / shares[labels]))
    return factors


def known_classes(annotations: Annotations, image_id: int) -> npt.NDArray[np.bool_]:
    """Return for each class, (K,), whether an image shows it or is known not to show it."""
    known = np.ones(len(annotations.class_ids), dtype=bool)
    if annotations.coverage is not None:
        known[:] = False
        known[annotations.of_image(image_id).labels] = True
        known[list(annotations.coverage[image_id].negative)] = True
    return known


def _class_pairs(
    annotations: Annotations, image_ids: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return each pair of a row of `image_ids` and a label that the image shows, once."""
    classes = len(annotations.class_ids)
    row = {image_id: k for k, image_id in enumerate(image_ids)}
    rows = np.array([row.get(image.id, -1) for image in annotations.images], dtype=np.int64)
    owners = np.repeat(rows, np.diff(annotations.starts))
    counted = (owners >= 0) & ~annotations.packed.crowd
    pairs = np.unique(owners[counted] * classes + annotations.packed.labels[counted])
    return pairs // classes, pairs % classes
