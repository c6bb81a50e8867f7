"""Targets of text and audio tokens: what a speech LLM that is to speak is trained on."""

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.data.batch import IGNORED_LABEL
from mooer.data.config import DataConfig, TaskConfig
from mooer.data.tasks import Item, SpeechLlmSamples, possible_tasks
from mooer.data.utterance import AudioRef, Utterance
from mooer.models.builders import ModelConfig
from mooer.text.prompts import SPEECH_INSTRUCTIONS, chat_prompt
from mooer.text.speech_tokens import AUDIO_END, AUDIO_START, speech_special_tokens
from mooer.text.tokenizer import build_bpe_tokenizer, decode_text, encode_prompt, encode_text
from mooer.train.config import RunConfig, TrainingConfig

TASK = TaskConfig(task="s2s_trans")
SAID = "<|audio_3|> <|audio_3|> <|audio_0|>"


@pytest.fixture(scope="module")
def speaking():
    prompts = [chat_prompt(None, words) for words in SPEECH_INSTRUCTIONS.values()]
    return build_bpe_tokenizer(["the old boat"], 400, prompts, None, speech_special_tokens(5))


def item(identity, task=TASK, **labels):
    return Item(Utterance(identity, AudioRef(f"{identity}.wav"), labels=labels), task, torch.zeros(12, 560))


def test_text_then_sounds_then_six_positions(speaking):
    samples = SpeechLlmSamples(speaking, 2)
    (made,) = samples.make([item("a", en="the <|audio_1|> boat", audio=SAID)])
    prompt = encode_prompt(speaking, chat_prompt(speaking, SPEECH_INSTRUCTIONS["s2s_trans"]))
    assert made.token_ids[: made.prompt_length] == prompt
    start = speaking.convert_tokens_to_ids(AUDIO_START)
    place = made.token_ids.index(start)
    assert made.token_ids[made.prompt_length : place] == encode_text(speaking, "the <|audio_1|> boat")
    sounds = speaking.convert_tokens_to_ids(SAID.split())
    end = speaking.convert_tokens_to_ids(AUDIO_END)
    assert made.token_ids[place:] == [start, *sounds, *[end] * 5, speaking.eos_token_id]
    # The answer is read as decoding reads it: text before <|audio_start|>, a latent for it and for each sound.
    assert decode_text(speaking, made.token_ids[made.prompt_length : place]) == "the <|audio_1|> boat"
    answer = made.token_ids[made.prompt_length :]
    assert len(answer) - answer.index(start) - 6 == len(sounds) + 1
    assert samples.answer_lengths(TASK, [{"en": "the <|audio_1|> boat", "audio": SAID}]) == [len(answer)]


def test_samples_of_other_tasks_stand_beside(speaking):
    samples = SpeechLlmSamples(speaking, 2)
    spoken, text = samples.make([item("a", en="boat", audio=SAID), item("b", TaskConfig(task="asr"), text="boat")])
    batch = samples.collate([spoken, text])
    assert (batch.labels != IGNORED_LABEL).sum(dim=1).tolist() == [
        len(spoken.token_ids) - spoken.prompt_length,
        len(text.token_ids) - text.prompt_length,
    ]


def test_what_is_no_sound_is_named(speaking):
    made = SpeechLlmSamples(speaking, 2).make([item("a", en="boat", audio="<|audio_5|>"), item("b", en="boat", audio="boat")])
    assert made == ["unknown_audio_token"] * 2


def test_a_tokenizer_without_sounds(tokenizer):
    with pytest.raises(ConfigError, match="--audio_tokens N"):
        SpeechLlmSamples(tokenizer, 2).make([item("a", en="word", audio=SAID)])


def test_labels_and_words_of_the_tasks():
    assert (TASK.label_names, TASK.key) == (("en", "audio"), "s2s_trans")
    chat = TaskConfig(task="s2s_chat", labels=("reply", "reply_audio"))
    assert [TASK.instruction_text, chat.instruction_text] == list(SPEECH_INSTRUCTIONS.values())
    assert possible_tasks([TASK, chat], {"en": "boat", "text": "船"}) == "no_label"
    assert possible_tasks([TASK, chat], {"en": "boat", "audio": SAID}) == [TASK]
    with pytest.raises(ConfigError, match="two labels or more"):
        TaskConfig(task="s2s_trans", labels=("audio",))


@pytest.mark.parametrize(
    ("family", "rate", "message"), [("ctc", "none", "a ctc does not speak"), ("speech_llm", "wer", "leave it at none")]
)
def test_runs_that_could_not_learn_to_speak(family, rate, message):
    data = DataConfig(train_list="train.list", dev_list="dev.list", tasks=(TASK,))
    model = ModelConfig(family=family, tokenizer_path="tokenizer")
    with pytest.raises(ConfigError, match=message):
        RunConfig(model=model, data=data, training=TrainingConfig(max_steps=1, validation_error_rate=rate))
