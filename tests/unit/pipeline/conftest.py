"""Small random models that translate, small random recognisers with recordings of noise, and the command that uses them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.pseudo_label import main
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.text.tokenizer import build_bpe_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz .,</>今天星期五去学校"
PAD, EOS, UNKNOWN = 0, 1, 2
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def contents(folder):
    """Every file that a run leaves, but for what says how and when it was made."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files = {name: data for name, data in files.items() if Path(name).name != "model.json"}
    report = json.loads(files.pop("report.json"))
    report.pop("run")
    for stage in report["models"].values():
        stage.pop("run")
    return files | {"report.json": report}


def letter_tokenizer():
    """A token a character, and </s> at the end, as translation models' tokenizers put it there."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {token: index for index, token in enumerate(["<pad>", "</s>", "<unk>", *dict.fromkeys(LETTERS)])}
    backend = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    backend.decoder = decoders.Fuse()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def nllb_tokenizer():
    """NLLB's own class, with its 202 language codes and a vocabulary of letters."""
    from transformers import NllbTokenizer

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *dict.fromkeys(LETTERS.replace(" ", ""))]
    return NllbTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def _liven(model, eos_id, embedding_std, std, end):
    """Random answers that differ from text to text; the larger `end`, the more of them end before their bound."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                is_table = any(part in name for part in ("embed_tokens", "shared", "lm_head"))
                parameter.normal_(std=embedding_std if is_table else std)
        model.get_output_embeddings().weight[eos_id] *= end
    return model.eval()


def make_marian(folder):
    """A Marian model whose folder asks for searches that nobody asked for."""
    from transformers import MarianConfig, MarianMTModel

    tokenizer = letter_tokenizer()
    sizes = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 48) | dict.fromkeys(
        ("encoder_attention_heads", "decoder_attention_heads", "encoder_layers", "decoder_layers"), 2
    )
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD, "forced_eos_token_id": EOS}
    config = MarianConfig(
        vocab_size=len(tokenizer), d_model=32, max_position_embeddings=120, tie_word_embeddings=False, **sizes, **ids
    )
    model = _liven(MarianMTModel(config), EOS, 0.1, 0.2, end=2)
    model.generation_config.update(num_beams=6, bad_words_ids=[[PAD]], max_length=7, repetition_penalty=2.0, do_sample=True)
    return _save(folder, model, tokenizer)


def make_t5(folder):
    """A T5."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = letter_tokenizer()
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, tie_word_embeddings=False, **ids
    )
    return _save(folder, _liven(T5ForConditionalGeneration(config), EOS, 0.6, 0.6, end=2.5), tokenizer)


def make_nllb(folder):
    """An NLLB: the network of M2M100 with NLLB's tokenizer."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    tokenizer = nllb_tokenizer()
    sizes = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 48) | dict.fromkeys(
        ("encoder_attention_heads", "decoder_attention_heads", "encoder_layers", "decoder_layers"), 2
    )
    ids = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=32, max_position_embeddings=120, tie_word_embeddings=False, **sizes, **ids
    )
    return _save(folder, _liven(M2M100ForConditionalGeneration(config), 2, 1.0, 0.2, end=1), tokenizer)


def make_chat_llm(folder):
    """A Qwen2 with a chat template."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = build_bpe_tokenizer(["today is friday", "今天是星期五"], 420, [])
    tokenizer.chat_template = TEMPLATE
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=400, **sizes)
    return _save(folder, _liven(Qwen2ForCausalLM(config), tokenizer.eos_token_id, 0.2, 0.2, end=2.5), tokenizer)


def _save(folder, model, tokenizer):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def translation_models(tmp_path_factory):
    """Folders of small random translation models by kind."""
    ensure_torchaudio()
    folder = tmp_path_factory.mktemp("translation")
    makers = {"marian": (make_marian, 3), "t5": (make_t5, 0), "nllb": (make_nllb, 3), "chat": (make_chat_llm, 0)}
    folders = {}
    for name, (make, seed) in makers.items():
        torch.manual_seed(seed)
        folders[name] = make(folder / name)
    return folders


@pytest.fixture(scope="session")
def recognisers(tmp_path_factory, tiny_recognisers):
    """Model directories of a small random recogniser of each family."""
    folder = tmp_path_factory.mktemp("recognisers")
    tiny_recognisers(folder, ["one two three", "一二三"], ["<|im_start|>user\n"])
    return {name: folder / name for name in ("ctc", "llm")}


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """A data directory of 10 recordings of noise, with speakers, in an order that is not sorted; ids u0 to u9."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    names = [f"u{index}" for index in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]
    for index, name in enumerate(names):
        soundfile.write(folder / f"{name}.wav", generator.normal(0, 0.1, 6000 + 1500 * index), 16000)
    (folder / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in names))
    (folder / "utt2spk").write_text("".join(f"{name} s{name[1]}\n" for name in sorted(names)))
    return folder


@pytest.fixture
def lines_of():
    """A function from a file to its lines of JSON."""
    return lambda path: [json.loads(line) for line in path.read_bytes().splitlines()]
