#!/usr/bin/env python3
"""Hours of audio trained in an hour, and the loss after it: mooer's training step against the plain loop, in turns.

Both train the adapter and the LLM of egs/mini from the same first weights, on the same utterances for the same number of
epochs, with as many utterances to an optimizer step, in one process of one thread. The plain loop: soundfile, torchaudio's
fbank and a Python loop for LFR whenever an utterance is needed; batches of 8 in a random order, four to a step; logits of all
columns; the LLM's own loss. Run in a finished egs/mini (or its --work_dir): python ../../tools/bench/train.py
"""

import argparse
import dataclasses
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mooer.common.config import load_yaml
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.data.batch import collate_speech_llm
from mooer.data.dataset import build_loader
from mooer.data.lists import iterate_data_list
from mooer.data.tasks import Item, SpeechLlmSamples, draw_task
from mooer.features.cmvn import read_cmvn
from mooer.models.builders import build_model
from mooer.text.tokenizer import load_tokenizer
from mooer.train.config import RunConfig
from mooer.train.engine import Engine, processes
from mooer.train.optim import build_optimizer, learning_rate_share, set_learning_rate
from mooer.train.step import Stepper
from tools.bench.loader import PlainDataset

CONFIG = Path(__file__).resolve().parents[2] / "egs" / "mini" / "conf" / "mooer.yaml"
PLAIN_BATCH, ACCUMULATION = 8, 4
# What mini's utterances of about 2.5 s fill with 32 of them.
STEP_FRAMES = 8000


class Ours:
    """The toolkit's loader, engine and step."""

    def __init__(self, config, tokenizer, model):
        data = dataclasses.replace(config.data, max_batch_frames=STEP_FRAMES, num_buckets=8)
        self.config = config
        self.loader = build_loader(data, "train", "speech_llm", tokenizer)
        self.engine = Engine(model, build_optimizer(model, config.training.optimizer), config.training, torch.device("cpu"))
        self.stepper = Stepper(self.engine, 0, lambda: None)
        self.steps = self.loader.batches_in_epoch(0)

    def epoch(self, number, total_steps):
        for place, batch in enumerate(self.loader.epoch(number)):
            share = learning_rate_share(self.config.training.schedule, number * self.steps + place, total_steps)
            self.stepper.step([batch], (number, place), share)


class Plain:
    """A loop as a user would write it."""

    def __init__(self, config, tokenizer, model):
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
        for batch in build_loader(config.data, "dev", "speech_llm", tokenizer).epoch(0):
            output = model(batch.frames, batch.frame_lengths, batch.input_ids, batch.labels, batch.attention_mask)
            total, tokens = total + float(output.loss_sum), tokens + int(output.num_tokens)
    return total / tokens


def subset(path, count, folder):
    """A list of the first `count` utterances of a raw list, and their hours."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)[:count]
    (folder / "data.list").write_text("".join(lines), encoding="utf-8")
    return str(folder / "data.list"), sum(json.loads(line)["num_samples"] for line in lines) / 16000 / 3600


def compare(config, epochs):
    """Seconds of each epoch and the loss afterwards, for both ways."""
    tokenizer = load_tokenizer(config.model.tokenizer_path)
    ways = {}
    for name, way in (("mooer", Ours), ("plain", Plain)):
        torch.manual_seed(0)
        ways[name] = way(config, tokenizer, build_model(config.model, len(tokenizer)))
    seconds = {name: [] for name in ways}
    for number in range(epochs):
        for name, way in ways.items():
            started = time.perf_counter()
            way.epoch(number, epochs * way.steps)
            seconds[name].append(time.perf_counter() - started)
            print(f"epoch {number}: {name} {seconds[name][-1]:.1f} s", file=sys.stderr)
    models = {"mooer": ways["mooer"].engine.model, "plain": ways["plain"].model}
    return {
        name: {
            "seconds": [round(value, 1) for value in seconds[name]],
            "steps": epochs * way.steps,
            "dev_loss": round(dev_loss(config, tokenizer, models[name]), 3),
        }
        for name, way in ways.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_utterances", type=int, default=1600)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ensure_torchaudio()
    with tempfile.TemporaryDirectory() as name:
        raw = load_yaml(CONFIG, RunConfig)
        train_list, hours = subset(raw.data.train_list, arguments.num_utterances, Path(name))
        config = dataclasses.replace(raw, data=dataclasses.replace(raw.data, train_list=train_list))
        with processes(torch.device("cpu")):
            found = compare(config, arguments.epochs)
    for result in found.values():
        result["hours_an_hour"] = round(arguments.epochs * hours / (sum(result["seconds"]) / 3600))
    ratio = found["mooer"]["hours_an_hour"] / found["plain"]["hours_an_hour"]
    print(json.dumps({"hours": round(hours, 2), "epochs": arguments.epochs, **found, "ratio": round(ratio, 2)}, indent=2))


if __name__ == "__main__":
    main()
