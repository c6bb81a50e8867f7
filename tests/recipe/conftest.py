"""A corpus of a few seconds of tones and a training file for it: enough for whole training runs in seconds."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from mooer.common.errors import PathError
from mooer.common.files import locked

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("one", "two", "three", "four")
RATE = 16000


def _wave(rng, words):
    """A tone of its own for each word, with noise."""
    time_axis = np.arange(int(0.3 * RATE)) / RATE
    tones = [0.3 * np.sin(2 * np.pi * (300 + 200 * WORDS.index(word)) * time_axis) for word in words]
    wave = np.concatenate(tones)
    return (wave + 0.01 * rng.standard_normal(len(wave))).astype(np.float32)


def _write_list(folder, name, count, rng):
    lines = []
    for number in range(count):
        words = [WORDS[index] for index in rng.integers(0, len(WORDS), 1 + number % 4)]
        path = folder / f"{name}{number}.wav"
        wave = _wave(rng, words)
        soundfile.write(path, wave, RATE)
        lines.append({"id": path.stem, "audio": str(path), "num_samples": len(wave), "labels": {"text": " ".join(words)}})
    target = folder / f"{name}.list"
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return target


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory):
    """Folder with train.list (27 utterances), dev.list (6) and a tokenizer."""
    from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer

    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    _write_list(folder, "train", 27, rng)
    _write_list(folder, "dev", 6, rng)
    save_tokenizer(build_bpe_tokenizer(list(WORDS), 320, []), folder / "tokenizer")
    return folder


def training_file(corpus, path, **training):
    """Write the training file of a small CTC model with dropout; `training` overrides the section of that name."""
    config = {
        "model": {
            "family": "ctc",
            "tokenizer_path": str(corpus / "tokenizer"),
            "encoder": {
                "output_size": 32,
                "attention_heads": 2,
                "linear_units": 64,
                "num_blocks": 2,
                "kernel_size": 5,
                "dropout": 0.1,
            },
        },
        "data": {
            "train_list": str(corpus / "train.list"),
            "dev_list": str(corpus / "dev.list"),
            "max_batch_frames": 400,
            "num_buckets": 2,
            "num_workers": 1,
            "min_frames": 1,
        },
        "training": {
            "max_epochs": 2,
            "log_interval": 1,
            "log_utterances": True,
            "tensorboard": False,
            "checkpoint_interval": 3,
            "keep_last": 2,
            "optimizer": {"learning_rate": 2e-3},
            "schedule": {"warmup_steps": 4},
            **training,
        },
    }
    path.write_text(yaml.safe_dump(config))
    return path


class ToneRuns:
    """Starts, kills and reads training runs, each in processes of its own with one thread and no accelerator."""

    def __init__(self, corpus):
        self.corpus = corpus

    def file(self, path, **training):
        """Write a training file; see `training_file`."""
        return training_file(self.corpus, path, **training)

    def train(self, config, output_dir, *extra, ranks=1, status=0):
        """Run to the end; returns the finished process."""
        command = _command(config, output_dir, *extra, ranks=ranks)
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=600)
        assert done.returncode == status, done.stderr[-3000:]
        return done

    def train_on_nodes(self, config, output_dir, *extra, nodes):
        """Run to the end with a launcher, of one process, for each node."""
        port = _free_port()
        place = ["--nnodes", str(nodes), "--nproc_per_node", "1", "--master_addr", "127.0.0.1", "--master_port", str(port)]
        commands = [
            [sys.executable, *LAUNCHER, *place, "--node_rank", str(node), *_script(config, output_dir, *extra)]
            for node in range(nodes)
        ]
        processes = [subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True) for command in commands]
        for process in processes:
            _, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr[-3000:]

    def kill(self, config, output_dir, *extra, ranks=1, at_step, only_rank=None):
        """Start a run and kill -9 it once `at_step` is logged: all its processes, or one rank; returns what it said."""
        log = _log_file(output_dir)
        with self.at_work(config, output_dir, *extra, ranks=ranks, at_step=at_step) as (process, workers):
            if only_rank is not None:
                os.kill(workers[only_rank], signal.SIGKILL)
                assert process.wait(timeout=90) != 0
                return log.read_text()
            # The launcher first, which would stop the others in its own way; its ranks are not of its process group.
            os.killpg(process.pid, signal.SIGKILL)
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            process.wait()
            while _is_locked(output_dir / "run.lock"):
                time.sleep(0.01)
            return log.read_text()

    @contextlib.contextmanager
    def at_work(self, config, output_dir, *extra, ranks=1, at_step):
        """A run that has logged `at_step`: its process, and those of the ranks where a launcher started several."""
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        log = _log_file(output_dir)
        with open(log, "w") as stderr:
            process = subprocess.Popen(
                _command(config, output_dir, *extra, ranks=ranks),
                env=_environment(),
                stderr=stderr,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        workers = []
        deadline = time.monotonic() + 600
        while not any(step >= at_step for step in self.losses(output_dir)):
            assert process.poll() is None, f"the run ended too early: {log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, "the run made no progress"
            time.sleep(0.005)
            if ranks > 1 and not workers and (output_dir / "config.yaml").exists():
                workers = [_process_of_rank(process.pid, rank) for rank in range(ranks)]
        yield process, workers

    def losses(self, output_dir):
        """Logged loss by step."""
        return {event["step"]: event["loss"] for event in _events(output_dir, "train.jsonl") if event["event"] == "step"}

    def utterance_ids(self, output_dir, rank=0):
        """Logged micro-batches of ids by step, in order."""
        return {event["step"]: event["ids"] for event in _events(output_dir, f"utterances.rank{rank}.jsonl")}


@pytest.fixture(scope="session")
def tone_runs(tone_corpus):
    """Training runs on the tone corpus."""
    return ToneRuns(tone_corpus)


LAUNCHER = ("-m", "torch.distributed.run")


def _script(config, output_dir, *extra):
    return [str(ROOT / "bin" / "train.py"), "--config", str(config), "--output_dir", str(output_dir), *map(str, extra)]


def _command(config, output_dir, *extra, ranks=1):
    script = _script(config, output_dir, *extra)
    if ranks == 1:
        return [sys.executable, *script]
    return [sys.executable, *LAUNCHER, "--nproc_per_node", str(ranks), "--master_port", str(_free_port()), *script]


def _log_file(output_dir):
    return output_dir.parent / f"{output_dir.name}.stderr"


def _is_locked(path):
    """Whether a process that was killed has not quite ended."""
    try:
        with locked(path, "the test"):
            return False
    except PathError:
        return True


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _process_of_rank(launcher, rank):
    """The child of torchrun that is the given rank, by its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rsplit(") ", 1)[1].split()[1]
            if int(parent) == launcher and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"no process of rank {rank} under {launcher}")


def _environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}


def _events(output_dir, name):
    path = output_dir / name
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except ValueError:
            return
