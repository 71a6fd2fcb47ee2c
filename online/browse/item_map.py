"""Items on a plane: their vectors along the two directions in which these differ most."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.feature_kinds import Float32

_FURTHEST: Final = 99.5  # percent of the items lie within -1 to 1; the few beyond are put on the edge


def projected(vectors: Float32) -> NDArray[np.float64]:
    """(n, dim) vectors -> (n, 2) places within -1 to 1, by their principal components; lengths do not matter."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1)
    centred = (units - units.mean(axis=0)).astype(np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = directions[:, :-3:-1]  # (dim, 2)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])  # which way is up is fixed
    places: NDArray[np.float64] = centred @ axes
    scale = np.percentile(np.abs(places), _FURTHEST, axis=0) if len(places) else np.ones(2)
    return np.clip(places / np.where(scale > 0, scale, 1), -1, 1)
