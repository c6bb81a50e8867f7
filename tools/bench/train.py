#!/usr/bin/env python3
"""Hours of audio trained in an hour, and the loss after it: mooer's training step against the plain loop, on the same cores.

Both train the adapter and the LLM of egs/mini from the same first weights, on the same utterances for the same number of
epochs, in about as many optimizer steps. mooer: two ranks of one thread, in float32 and in bfloat16, batches by length of audio
and of answer under a budget of LLM columns, outputs of the frozen encoder kept on disk (in the first epoch they are made). The
plain loop: one process with torch's own number of threads; soundfile, torchaudio's fbank and a Python loop for LFR whenever an
utterance is needed; batches of 8 in random order, four to a step; logits of all columns; the LLM's own loss. Start-up is not
counted. Run in a finished egs/mini (or its --work_dir): python ../../tools/bench/train.py
"""

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mooer.common import dist
from mooer.common.config import load_yaml
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.data.batch import collate_speech_llm
from mooer.data.dataset import build_loader
from mooer.data.lists import iterate_data_list
from mooer.data.tasks import Item, SpeechLlmSamples, draw_task
from mooer.features.cmvn import read_cmvn
from mooer.models.builders import build_model
from mooer.models.encoder_cache import EncoderCache
from mooer.text.tokenizer import load_tokenizer
from mooer.train.config import RunConfig
from mooer.train.engine import Engine, processes
from mooer.train.families.speech import SpeechLlmFamily
from mooer.train.optim import build_optimizer, learning_rate_share, set_learning_rate
from mooer.train.step import Stepper
from tools.bench.loader import PlainDataset

CONFIG = Path(__file__).resolve().parents[2] / "egs" / "mini" / "conf" / "mooer.yaml"
RANKS = 2
PLAIN_BATCH, ACCUMULATION = 8, 4
# A rank's batches, for about as many steps in an epoch as the plain loop makes.
RANK_BATCHES = {"max_batch_frames": 5000, "max_batch_tokens": 760, "num_buckets": 8, "num_token_buckets": 4}
DTYPES = {"mooer": "float32", "mooer_bfloat16": "bfloat16", "plain": "float32"}


class Ours:
    """The toolkit's loader, engine and step."""

    def __init__(self, config, tokenizer, model, folder):
        data = dataclasses.replace(config.data, **RANK_BATCHES)
        self.config = config
        self.loader = build_loader(data, "train", SpeechLlmSamples.of(data, tokenizer), dist.rank(), dist.world_size())
        model.encoder_cache = EncoderCache(folder / "encoder", model.encoder)
        self.model = model
        engine = Engine(model, build_optimizer(model, config.training.optimizer), config.training, torch.device("cpu"))
        self.stepper = Stepper(engine, SpeechLlmFamily(config), 0, lambda: next(iter(self.loader.epoch(0))))
        self.steps = -(-self.loader.batches_in_epoch(0) // dist.world_size())

    def epoch(self, number, total_steps):
        for place, batch in enumerate(self.loader.epoch(number)):
            share = learning_rate_share(self.config.training.schedule, number * self.steps + place, total_steps)
            self.stepper.step([batch], (number, place * dist.world_size()), share)


class Plain:
    """A loop as a user would write it."""

    def __init__(self, config, tokenizer, model, _folder):
        self.config, self.model = config, model
        self.optimizer = build_optimizer(model, dataclasses.replace(config.training.optimizer, fused=True))
        self.utterances = list(iterate_data_list(config.data.train_list))
        self.samples = SpeechLlmSamples(tokenizer, config.model.adapter.downsample_rate)
        self.frames = PlainDataset([], read_cmvn(config.data.cmvn_path), tokenizer).frames
        self.pad_id = tokenizer.pad_token_id
        self.steps = -(-len(self.utterances) // (PLAIN_BATCH * ACCUMULATION))

    def batches(self, number):
        order = random.Random(number).sample(self.utterances, len(self.utterances))
        for first in range(0, len(order), PLAIN_BATCH):
            items = []
            for utterance in order[first : first + PLAIN_BATCH]:
                task = draw_task(self.config.data.tasks, utterance, 0, f"epoch {number}")
                items.append(Item(utterance, task, self.frames(Path(utterance.audio.path).read_bytes())))
            yield collate_speech_llm(self.samples.make(items), self.pad_id, self.samples.downsample_rate)

    def epoch(self, number, total_steps):
        self.model.train()
        for place, batch in enumerate(self.batches(number)):
            embeddings = self.model.embed(batch.frames, batch.frame_lengths, batch.input_ids)
            loss = self.model.llm(inputs_embeds=embeddings, attention_mask=batch.attention_mask, labels=batch.labels).loss
            (loss / ACCUMULATION).backward()
            if (place + 1) % ACCUMULATION == 0:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_norm)
                step = number * self.steps + place // ACCUMULATION
                set_learning_rate(self.optimizer, learning_rate_share(self.config.training.schedule, step, total_steps))
                self.optimizer.step()
                self.optimizer.zero_grad()


def dev_loss(config, tokenizer, model):
    """Mean loss of a target token of the development set."""
    model.eval()
    total = tokens = 0.0
    with torch.no_grad():
        for batch in build_loader(config.data, "dev", SpeechLlmSamples.of(config.data, tokenizer)).epoch(0):
            output = model(batch.frames, batch.frame_lengths, batch.input_ids, batch.labels, batch.attention_mask)
            total, tokens = total + float(output.loss_sum), tokens + int(output.num_tokens)
    return total / tokens


def subset(path, count, folder):
    """A list of the first `count` utterances of a raw list, and their hours."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)[:count]
    (folder / "data.list").write_text("".join(lines), encoding="utf-8")
    return str(folder / "data.list"), sum(json.loads(line)["num_samples"] for line in lines) / 16000 / 3600


def run(way, list_path, epochs, folder):
    """Train in one way; the main rank prints seconds of each epoch, steps, and the loss afterwards."""
    raw = load_yaml(CONFIG, RunConfig)
    config = dataclasses.replace(
        raw,
        data=dataclasses.replace(raw.data, train_list=list_path),
        training=dataclasses.replace(raw.training, dtype=DTYPES[way]),
    )
    tokenizer = load_tokenizer(config.model.tokenizer_path)
    seconds = []
    with processes(torch.device("cpu")):
        torch.manual_seed(0)
        job = (Plain if way == "plain" else Ours)(config, tokenizer, build_model(config.model, len(tokenizer)), folder)
        for number in range(epochs):
            started = time.perf_counter()
            job.epoch(number, epochs * job.steps)
            seconds.append(round(time.perf_counter() - started, 1))
        if dist.is_main():
            loss = round(dev_loss(config, tokenizer, job.model), 3)
            print(json.dumps({"seconds": seconds, "steps": epochs * job.steps, "dev_loss": loss}))


def start(way, list_path, arguments, folder):
    """`run` in processes of its own."""
    options = ["--way", way, "--train_list", list_path, "--epochs", str(arguments.epochs), "--folder", str(folder)]
    command = [sys.executable, __file__, *options]
    environment = dict(os.environ)
    if way != "plain":
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(RANKS)]
        environment["OMP_NUM_THREADS"] = "1"
    else:
        environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{way}: {result}", file=sys.stderr)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_utterances", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--beside_plain", nargs="+", choices=["mooer", "mooer_bfloat16"], default=["mooer", "mooer_bfloat16"])
    for name in ("way", "train_list", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    ensure_torchaudio()
    if arguments.way:
        run(arguments.way, arguments.train_list, arguments.epochs, Path(arguments.folder))
        return
    found = {way: [] for way in (*arguments.beside_plain, "plain")}
    with tempfile.TemporaryDirectory() as name:
        source = load_yaml(CONFIG, RunConfig).data.train_list
        list_path, hours = subset(source, arguments.num_utterances, Path(name))
        for number in range(arguments.repeats):
            for way, results in found.items():
                folder = Path(name) / f"{way}{number}"
                folder.mkdir()
                results.append(start(way, list_path, arguments, folder))
    fastest = {way: min(results, key=lambda result: sum(result["seconds"])) for way, results in found.items()}
    for result in reversed(fastest.values()):
        result["hours_an_hour"] = round(arguments.epochs * hours / (sum(result["seconds"]) / 3600))
        result["times_plain"] = round(result["hours_an_hour"] / fastest["plain"]["hours_an_hour"], 2)
    print(json.dumps({"hours": round(hours, 2), "epochs": arguments.epochs, **fastest}, indent=2))


if __name__ == "__main__":
    main()
