import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.decode.generate import GenerateConfig
from mooer.decode.speech_llm_decoder import MAX_NEW_TOKENS, SpeechLlmSettings, default_max_new_tokens


@given(st.floats(0.025, 300), st.integers(1, 2))
def test_bound_follows_the_length(seconds, lines):
    bound = default_max_new_tokens(seconds, lines)
    assert 20 * lines <= bound <= MAX_NEW_TOKENS
    assert bound >= min(MAX_NEW_TOKENS, 15 * seconds * lines)
    assert default_max_new_tokens(seconds + 1, lines) >= bound


def test_more_answers_than_beams_are_refused():
    with pytest.raises(ConfigError, match="beam_size"):
        SpeechLlmSettings(instruction="x", num_alternatives=3, generate=GenerateConfig(beam_size=2))
