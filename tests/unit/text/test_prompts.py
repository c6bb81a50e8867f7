"""Instructions, the chat form and the two lines of a multi-task answer."""

import pytest

from mooer.text.prompts import (
    SYSTEM_MESSAGE,
    TASKS,
    Turn,
    chat_prompt,
    instruction,
    released_instruction,
    split_multitask,
)


class PlainTokenizer:
    chat_template = None


class TemplateTokenizer:
    """Stands for a tokenizer with a chat template of its own, with or without a system role."""

    chat_template = "x"

    def __init__(self, knows_system):
        self.knows_system = knows_system

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        from jinja2 import TemplateError

        assert tokenize is False and add_generation_prompt is True
        if messages[0]["role"] == "system" and not self.knows_system:
            raise TemplateError("System role not supported")
        return "".join(f"[{message['role']}]{message['content']}" for message in messages) + "[assistant]"


@pytest.mark.parametrize(
    ("task", "language", "text"),
    [
        ("asr", "en", "Transcribe speech to text. "),
        ("ast", "en", "Translate speech to english text. "),
        ("ast", "zh", "Translate speech to chinese text. "),
        ("mtl", "en", "Transcribe and translate speech to english text. "),
        ("mtl", "zh", "Transcribe and translate speech to chinese text. "),
    ],
)
def test_instructions(task, language, text):
    assert instruction(task, language) == text


def test_unknown_tasks_and_languages_are_errors():
    with pytest.raises(ValueError, match="asr, ast, mtl"):
        instruction("tts")
    with pytest.raises(ValueError, match="en, zh"):
        instruction("ast", "de")


def test_the_released_multitask_checkpoint_has_the_instruction_of_ast():
    assert [released_instruction(task) for task in TASKS] == [instruction("asr"), instruction("ast"), instruction("ast")]


def test_the_released_form_where_there_is_no_template():
    assert chat_prompt(PlainTokenizer(), "Do {it}. ") == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nDo {it}. <|im_end|>\n<|im_start|>assistant\n"
    )


def test_earlier_turns_stand_before_the_instruction():
    history = [Turn("user", "How {old}?"), Turn("assistant", "Seven.")]
    assert chat_prompt(PlainTokenizer(), "Go on. ", history) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHow {old}?<|im_end|>\n<|im_start|>assistant\nSeven.<|im_end|>\n"
        "<|im_start|>user\nGo on. <|im_end|>\n<|im_start|>assistant\n"
    )
    for knows_system, first in ((True, f"[system]{SYSTEM_MESSAGE}"), (False, "")):
        expected = f"{first}[user]How {{old}}?[assistant]Seven.[user]Go on. [assistant]"
        assert chat_prompt(TemplateTokenizer(knows_system), "Go on. ", history) == expected


def test_a_tokenizers_own_template_comes_first():
    assert chat_prompt(TemplateTokenizer(True), "Do it. ") == f"[system]{SYSTEM_MESSAGE}[user]Do it. [assistant]"
    assert chat_prompt(TemplateTokenizer(False), "Do it. ") == "[user]Do it. [assistant]"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("你好\nHello", ("你好", "Hello")),
        ("你好", ("你好", None)),
        ("", ("", None)),
        ("a\nb\nc", ("a", None)),
        ("a\n", ("a", "")),
    ],
)
def test_two_lines_are_transcript_and_translation(text, parts):
    assert split_multitask(text) == parts
