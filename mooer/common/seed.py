"""Seeds: one for the process, and derived ones that depend only on what they are for."""

import hashlib


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices)."""
    import random

    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts, equal on every machine: `derived_seed(seed, epoch, utterance_id)`.

    A draw for an utterance then depends neither on the order of the data nor on the worker that makes it.
    """
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
