"""What the LLM is told to do: instructions, the chat form around them, and how a multi-task answer is read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

TASKS = ("asr", "ast", "mtl")
TARGET_LANGUAGES = {"en": "english", "zh": "chinese"}
# What the released models that answer with speech are asked: to translate, and to talk.
SPEECH_INSTRUCTIONS = {"s2s_trans": "Translate speech to english speech. ", "s2s_chat": "Answer my question with speech. "}
# Who says something in a conversation, by the names of the chat form.
ROLES = ("user", "assistant")

SYSTEM_MESSAGE = "You are a helpful assistant."

# The form of the released checkpoints (Qwen2's chat template, with a generation prompt).
RELEASED_TURN = "<|im_start|>{role}\n{text}<|im_end|>\n"
RELEASED_END = "<|im_start|>assistant\n"


class Turn(NamedTuple):
    """What was said earlier in a conversation."""

    role: str
    """One of ROLES."""
    text: str


def instruction(task: str, target_language: str = "en") -> str:
    """The instruction for a task; the trailing space belongs to it.

    Those of asr, and of ast into English, are the released ones.

    Args:
        task: one of TASKS.
        target_language: of the translation, a key of TARGET_LANGUAGES; asr has none and ignores it.

    Raises:
        ValueError: another task or language.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r} is unknown; allowed: {', '.join(TASKS)}")
    if task == "asr":
        return "Transcribe speech to text. "
    if target_language not in TARGET_LANGUAGES:
        raise ValueError(f"target language {target_language!r} is unknown; allowed: {', '.join(TARGET_LANGUAGES)}")
    verb = "Translate" if task == "ast" else "Transcribe and translate"
    return f"{verb} speech to {TARGET_LANGUAGES[target_language]} text. "


def released_instruction(task: str) -> str:
    """The instruction that the released checkpoint for a task was trained with: the multi-task one has that of ast."""
    return instruction("asr" if task == "asr" else "ast", "en")


def chat_prompt(tokenizer: Any, instruction: str, history: Sequence[Turn] = ()) -> str:
    """The text between the audio and the answer.

    Args:
        tokenizer: a Hugging Face tokenizer; its own chat template is used if it has one, else the released form.
        instruction: what the user asks, taken as it is.
        history: earlier turns, the earliest first; they stand between the system message and the instruction.
    """
    turns = [Turn("system", SYSTEM_MESSAGE), *history, Turn("user", instruction)]
    if getattr(tokenizer, "chat_template", None) is None:
        return "".join(RELEASED_TURN.format(role=turn.role, text=turn.text) for turn in turns) + RELEASED_END
    from jinja2 import TemplateError

    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError:  # some templates know no system role
        return tokenizer.apply_chat_template(messages[1:], tokenize=False, add_generation_prompt=True)


def split_multitask(text: str) -> tuple[str, str | None]:
    """Transcript and translation of a multi-task answer: two lines; with any other number the first is the transcript."""
    lines = text.split("\n")
    return (lines[0], lines[1]) if len(lines) == 2 else (lines[0], None)
