import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError
from mooer.pipeline import speech_cutter
from mooer.pipeline.speech_cutter import CountedPieces, speech_of, whole_recording
from mooer.pipeline.speech_segments import SpeechOptions, SpeechSegmenter


class LoudnessDetector:
    """Takes loud frames for speech, at once; its stream is that of the real one without front end and network."""

    def stream(self, options):
        return LoudnessStream(options)


class LoudnessStream:
    def __init__(self, options):
        self._segmenter, self._rest = SpeechSegmenter(options), torch.empty(0)

    @property
    def open_start_ms(self):
        return self._segmenter.open_start_ms

    def accept(self, samples):
        waiting = torch.cat((self._rest, samples))
        count = max(0, len(waiting) // 160 - 4)  # as late as the real one
        self._rest = waiting[160 * count :]
        return self._put(waiting[: 160 * count])

    def finish(self):
        return self._put(self._rest[: len(self._rest) // 160 * 160]) + self._segmenter.finish()

    def _put(self, samples):
        loud = samples.view(-1, 160).abs().amax(1) > 0.5 if len(samples) else torch.empty(0)
        return self._segmenter.accept(1.0 - loud.float().numpy(), torch.zeros(len(loud)).numpy())


OPTIONS = SpeechOptions(max_end_silence_time=300, max_single_segment_time=2000)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1, max_size=12),
    st.integers(0, 10**6),
    st.integers(1, 40000),
)
def test_segments_hold_their_own_samples_and_all_speech_once(runs, seed, longest_piece):
    levels = torch.cat([torch.full((160 * frames,), 1.0 if loud else 0.0) for loud, frames in runs])
    audio = levels * (0.6 + 0.4 * torch.rand(len(levels), generator=torch.Generator().manual_seed(seed)))
    generator, pieces, start = torch.Generator().manual_seed(seed), [], 0
    while start < len(audio):
        size = int(torch.randint(1, longest_piece + 1, (1,), generator=generator))
        pieces.append(audio[start : start + size])
        start += size
    counted = CountedPieces(pieces)
    found = list(speech_of(counted, LoudnessDetector(), OPTIONS))
    assert counted.num_samples == len(audio)
    end, covered = 0, torch.zeros(len(audio), dtype=torch.bool)
    for item in found:
        assert end <= item.start < item.end
        end = item.end
        assert torch.equal(item.samples, audio[16 * item.start : 16 * item.end])
        assert item.end - item.start <= OPTIONS.max_single_segment_time + 10
        covered[16 * item.start : 16 * item.end] = True
    frames = covered.view(-1, 160).all(1)
    loud = levels.view(-1, 160)[:, 0] > 0
    window = loud.unfold(0, 20, 1).sum(1) if len(loud) >= 20 else torch.empty(0)
    for place in (window == 20).nonzero().flatten().tolist():
        assert frames[place : place + 20].all(), "a stretch of loud frames lies in a segment"


def test_what_has_passed_is_forgotten():
    kept = []

    def pieces():
        history = None
        for number in range(400):
            history = history or next(item for item in histories)
            kept.append(sum(map(len, history._pieces)))
            yield torch.full((1600,), float(number % 20 < 10))

    histories = []
    original = speech_cutter._History

    class Watched(original):
        def __init__(self):
            super().__init__()
            histories.append(self)

    speech_cutter._History = Watched
    try:
        assert len(list(speech_of(pieces(), LoudnessDetector(), OPTIONS))) > 10
    finally:
        speech_cutter._History = original
    assert max(kept) < 16 * 4000


def test_the_whole_recording():
    (segment,) = whole_recording([torch.zeros(100), torch.ones(61)], 1000)
    assert (segment.start, segment.end, len(segment.samples)) == (0, 11, 161)
    with pytest.raises(AudioError, match="vad_dir") as caught:
        list(whole_recording([torch.zeros(16000), torch.zeros(1)], 1000))
    assert caught.value.reason == "too_long"
