"""Embeddings that vary alike in all directions within a speaker: within-class covariance normalisation (Hatch et al. 2006).

In some directions an embedding tells more of what is said than of who says it. A linear map makes the covariance within
speakers unity, so that no direction drowns the others in a cosine; the network's last layer is linear, so the map becomes part
of its weights, and whatever reads such a model reads this one.

Shapes: D width of the embedding, N_i embeddings of speaker i.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mooer.common.errors import DataError
from mooer.models.speaker import Campplus

Floats = NDArray[np.floating]
DEFAULT_SHRINKAGE = 0.2


def whitened(model: Campplus, embeddings: Sequence[Floats], shrinkage: float = DEFAULT_SHRINKAGE) -> Campplus:
    """The model with embeddings that have zero mean and, within a speaker, about unit covariance over the ones given.

    Args:
        model: in eval mode; it is left as it is.
        embeddings: [N_i, D] that the model gives for some windows of each speaker.
        shrinkage: share of the covariance that is alike in all directions, in place of what was measured; above 0.

    Raises:
        DataError: no two embeddings of one speaker, or embeddings that do not vary.
    """
    rows = np.concatenate([np.asarray(group, dtype=np.float64) for group in embeddings])
    mean, inverse = rows.mean(axis=0), _inverse_root(within_covariance(embeddings), shrinkage)
    model = copy.deepcopy(model)
    dense = model.xvector["dense"]
    norm = dense.nonlinear.batchnorm
    deviation = (norm.running_var.double() + norm.eps).sqrt()
    # (weight x - running_mean) / deviation - mean, times the map: a layer whose normalisation only takes a mean away.
    map_ = torch.from_numpy(inverse)
    weight = map_ @ (dense.linear.weight[:, :, 0].double() / deviation[:, None])
    shift = map_ @ (norm.running_mean.double() / deviation + torch.from_numpy(mean))
    with torch.no_grad():
        dense.linear.weight.copy_(weight[:, :, None])
        norm.running_mean.copy_(shift)
        norm.running_var.fill_(1.0 - norm.eps)
    return model


def within_covariance(embeddings: Sequence[Floats]) -> Floats:
    """[D, D], of the differences from each speaker's mean. Raises DataError without two embeddings of one speaker."""
    groups = [np.asarray(group, dtype=np.float64) for group in embeddings]
    freedom = sum(len(group) - 1 for group in groups if len(group))
    if freedom < 1:
        raise DataError("whitening needs two embeddings of a speaker at least: give longer recordings, or more of a speaker")
    differences = np.concatenate([group - group.mean(axis=0) for group in groups if len(group)])
    return differences.T @ differences / freedom


def _inverse_root(covariance: Floats, shrinkage: float) -> Floats:
    """The symmetric [D, D] whose square is the inverse of the shrunk covariance."""
    variance = np.trace(covariance) / len(covariance)
    if not variance > 0:
        raise DataError("the embeddings of each speaker are all alike, so there is nothing to whiten")
    values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * variance * np.eye(len(covariance)))
    return vectors * values**-0.5 @ vectors.T
