"""CTC's answers while its frames still come: after the last one, the same as for all frames at once, to the last digit.

T frames of a piece, V vocabulary.
"""

import torch
from torch import Tensor

from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.ctc_search import CtcPath, path_of
from mooer.decode.fusion import Found, Fusion
from mooer.decode.prefixes import PrefixTree


class CtcGreedyStream:
    """The best token of each frame."""

    def __init__(self, blank_id: int) -> None:
        self._blank_id = blank_id
        self._best, self._ids = torch.empty(0), torch.empty(0, dtype=torch.long)

    def accept(self, log_probs: Tensor) -> None:
        """Hear the next frames [T, V]; T may be 0."""
        best, ids = log_probs.max(dim=-1)
        self._best, self._ids = torch.cat([self._best, best.float().cpu()]), torch.cat([self._ids, ids.cpu()])

    def path(self) -> CtcPath:
        """The path up to here, with its frames counted from the first one of all."""
        return path_of(self._best, self._ids, self._blank_id)


class CtcPrefixStream:
    """Prefix beam search. Memory grows with the beginnings that were looked at.

    Args:
        fusion: the search as it is asked for.
        end_id: the end of a sentence, for the language model.
        symbols: as `CtcPrefixBeam` takes it.
    """

    def __init__(self, fusion: Fusion, blank_id: int, end_id: int, vocab_size: int, symbols: int | None = None) -> None:
        tree = PrefixTree()
        self._search = CtcPrefixBeam(fusion.config, blank_id, end_id, tree, fusion.scorer(tree), symbols)
        self._search.start(1, vocab_size)

    def accept(self, log_probs: Tensor) -> None:
        """Hear the next frames [T, V] float32; T may be 0."""
        self._search.accept(log_probs[None])

    def answers(self) -> list[Found]:
        """The answers if the utterance ended here, best first."""
        return self._search.answers(0)
