"""How answers in speech are written."""

import pytest

from mooer.text.speech_tokens import CLOSING, SILENT_POSITIONS, is_audio_token, speech_special_tokens, token_names


def test_names_of_sounds():
    assert token_names([0, 12]) == ["<|audio_0|>", "<|audio_12|>"]
    assert all(map(is_audio_token, token_names(range(300))))


@pytest.mark.parametrize("name", ["audio_1", "<|audio_01|>", "<|audio_|>", "<|audio_1|> ", "<|audio_start|>", ""])
def test_what_is_no_sound(name):
    assert not is_audio_token(name)


def test_the_end_of_the_sequence_is_the_last_silent_position():
    assert len(CLOSING) + 1 == SILENT_POSITIONS == 6
    known = speech_special_tokens(3)
    assert known == ("<|audio_start|>", "<|audio_end|>", "<|audio_0|>", "<|audio_1|>", "<|audio_2|>")
    assert set(CLOSING) < set(known)
