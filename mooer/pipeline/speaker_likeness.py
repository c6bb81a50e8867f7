"""How alike the voices of groups of embeddings are, whatever noise is in the embeddings.

The mean cosine between the windows of two groups, divided by the geometric mean of those within each: about 1 for two parts of
one voice, near 0 for two voices. Noise, and a model that knows little of a voice from one window, make all cosines less; here
numerator and denominator shrink alike, however many windows a group has. The cosine of two centres does not have that.

Shapes: N embeddings, D width, K groups.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

# Groups within which windows are less alike than this are no voice, and alike to whatever they have to do with.
LEAST_WITHIN = 0.02


class Likeness:
    """Compares groups of the same windows.

    Args:
        directions: [N, D], of length one, in time order.
        near: windows so few places apart share audio, and their cosine says nothing of the voice.
    """

    def __init__(self, directions: Floats, near: int) -> None:
        places = np.arange(len(directions))
        self._apart = (np.abs(places[:, None] - places) > near).astype(np.float64)
        self._cosines = directions @ directions.T * self._apart

    def between(self, labels: Labels) -> Floats:
        """Of every two groups, numbered from 0 on without gaps: [K, K]."""
        members = np.eye(labels.max() + 1)[labels]  # [N, K]
        pairs = members.T @ self._apart @ members
        means = members.T @ self._cosines @ members / np.maximum(pairs, 1.0)
        within = np.sqrt(np.maximum(means.diagonal(), LEAST_WITHIN))
        return means / within[:, None] / within

    def greatest(self, labels: Labels) -> float:
        """Of the two groups, of at least two, that are most alike."""
        between = self.between(labels)
        return float(between[np.triu_indices(len(between), 1)].max())
