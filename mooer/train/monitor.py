"""What a run tells about itself: a progress bar on stderr, train.jsonl, TensorBoard, and who was skipped.

train.jsonl has one object a line: {"event": "step" | "validation" | "epoch" | "stop", "step": N, ...}. When a run is resumed,
lines after its checkpoint's step are removed first, so the file reads as if nothing had happened. skipped.jsonl names every
utterance and shard that could not be used, with its reason.
"""

import contextlib
import dataclasses
import json
import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from mooer.common import dist
from mooer.common.files import atomic_write
from mooer.common.log import get_logger
from mooer.data.utterance import Problem
from mooer.train.checkpoint import Progress
from mooer.train.config import TrainingConfig
from mooer.train.step import StepResult, Sums

LOG_FILE = "train.jsonl"
SKIPPED_FILE = "skipped.jsonl"
TENSORBOARD_DIR = "tensorboard"
REMEMBERED_LOSSES = 5

log = get_logger(__name__)


def utterance_file(rank: int | str) -> str:
    """Name of the file with the utterance ids that a rank trained on."""
    return f"utterances.rank{rank}.jsonl"


class Monitor:
    """Logs of one run; a context manager.

    Only the main rank writes, except for utterance ids.

    Args:
        start: where the run begins or goes on.
        total_steps: length of the progress bar.
        frame_seconds: seconds of audio in a model frame; 0 where tokens of text are counted.
        measures: what is told of a step's or validation's sums beside loss and accuracy.
    """

    def __init__(
        self,
        output_dir: Path,
        config: TrainingConfig,
        start: Progress,
        total_steps: int,
        frame_seconds: float,
        measures: Callable[[Sums], Mapping[str, float]] = lambda _sums: {},
    ) -> None:
        self._interval = config.log_interval
        self._frame_seconds, self._measures = frame_seconds, measures
        self._losses: deque[float] = deque(maxlen=REMEMBERED_LOSSES)
        self._frames, self._since = 0, time.monotonic()
        self._stack = contextlib.ExitStack()
        main = dist.is_main()
        self._log = self._open(output_dir / LOG_FILE, start.step) if main else None
        self._ids = self._open(output_dir / utterance_file(dist.rank()), start.step) if config.log_utterances else None
        if main:
            _forget_later_utterances(output_dir, start.step)
        self._skipped_path = output_dir / SKIPPED_FILE
        self._problems = _read_problems(self._skipped_path)
        self._board = self._open_board(output_dir / TENSORBOARD_DIR, start.step) if main and config.tensorboard else None
        self._bar = self._stack.enter_context(
            tqdm(
                initial=start.step,
                total=total_steps,
                desc="train",
                unit="step",
                disable=not main,
                dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 15.0,
            )
        )

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_details: object) -> None:
        self._stack.close()

    def _open(self, path: Path, step: int) -> IO[str]:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_lines_after(path, step)
        return self._stack.enter_context(open(path, "a", encoding="utf-8", buffering=1))

    def _open_board(self, folder: Path, step: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        board = SummaryWriter(str(folder), purge_step=step + 1)
        self._stack.callback(board.close)
        return board

    def utterances(self, step: int, batches: Sequence[Any]) -> None:
        """Note the ids of this rank's micro-batches of a step (from 1)."""
        if self._ids is not None:
            ids = [None if batch is None else batch.ids for batch in batches]
            self._ids.write(json.dumps({"step": step, "ids": ids}, ensure_ascii=False) + "\n")

    def step(self, progress: Progress, result: StepResult) -> None:
        """Count a step; every log_interval steps it is written down."""
        self._losses.append(result.sums.mean_loss)
        self._frames += result.sums.frames
        self._bar.update(progress.step - self._bar.n)
        if progress.step % self._interval and progress.step > 1:
            return
        values = {
            "loss": result.sums.mean_loss,
            "accuracy": result.sums.accuracy,
            "learning_rate": result.learning_rate,
            "grad_norm": result.grad_norm,
            "tokens": result.sums.tokens,
            "utterances": result.sums.utterances,
            "unalignable": result.sums.unalignable,
            **self._measures(result.sums),
        }
        speed = self._speed()
        values["audio_hours_per_hour" if self._frame_seconds else "tokens_per_second"] = speed
        unit = "h/h" if self._frame_seconds else "tokens/s"
        shown = f"loss {values['loss']:.3f}, accuracy {values['accuracy']:.3f}, {speed:.0f} {unit}"
        self._bar.set_postfix_str(shown, refresh=False)
        self._write("step", progress, values)
        self._draw("train", progress.step, values)

    def _speed(self) -> float:
        """Seconds of audio, or tokens, a second since the last call."""
        now = time.monotonic()
        speed = self._frames * (self._frame_seconds or 1.0) / max(1e-9, now - self._since)
        self._frames, self._since = 0, now
        return round(speed, 1)

    def validation(self, progress: Progress, sums: Sums, error_rate: float | None) -> None:
        """Write down how the model does on the development set."""
        values = {"loss": sums.mean_loss, "accuracy": sums.accuracy, "error_rate": error_rate, **self._measures(sums)}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items() if value is not None)
        self._info("step %d: development set: %s", progress.step, shown)
        self._write("validation", progress, values)
        self._draw("dev", progress.step, values)

    def out_of_patience(self, progress: Progress) -> None:
        """Say that training ends because it no longer gets better."""
        self._info(
            "step %d: %d validations not better than %.4f: this is the end", progress.step, progress.stale, progress.best
        )

    def epoch(self, progress: Progress, problems: Sequence[Problem]) -> dict[str, int]:
        """Write down that an epoch (or the run) is over, and all utterances not used so far; returns their counts by reason."""
        self._problems.update({(problem.reason, problem.id): problem for problem in problems})
        skipped = dict(sorted(Counter(problem.reason for problem in self._problems.values()).items()))
        counts = ", ".join(f"{reason} {count}" for reason, count in skipped.items()) or "none"
        self._info("epoch %d, step %d: utterances skipped so far: %s", progress.epoch, progress.step, counts)
        self._write("epoch", progress, {"skipped": skipped})
        if self._log is not None and self._problems:
            with atomic_write(self._skipped_path) as stream:
                for problem in self._problems.values():
                    stream.write(json.dumps(dataclasses.asdict(problem), ensure_ascii=False) + "\n")
        return skipped

    def stop(self, progress: Progress, reason: str) -> str:
        """Write down why training stopped; returns the report, with the last losses."""
        losses = ", ".join(f"{loss:.4g}" for loss in self._losses) or "none yet"
        report = f"training stopped at step {progress.step + 1}, epoch {progress.epoch}: {reason}; last losses: {losses}"
        self._write("stop", progress, {"reason": report})
        return report

    def _info(self, message: str, *values: object) -> None:
        if self._log is not None:
            log.info(message, *values)

    def _write(self, event: str, progress: Progress, values: Mapping[str, Any]) -> None:
        if self._log is not None:
            line = {"event": event, "step": progress.step, "epoch": progress.epoch, **values}
            # JSON has no NaN.
            line = {
                key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in line.items()
            }
            self._log.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _draw(self, prefix: str, step: int, values: Mapping[str, Any]) -> None:
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(f"{prefix}/{name}", value, step)


def _read_problems(path: Path) -> dict[tuple[str, str], Problem]:
    """What a run that is resumed could not use before."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    problems = [Problem(**json.loads(line)) for line in lines]
    return {(problem.reason, problem.id): problem for problem in problems}


def _forget_later_utterances(output_dir: Path, step: int) -> None:
    """Take later lines back for ranks that the run had before it was resumed with fewer."""
    for path in output_dir.glob(utterance_file("*")):
        if int(path.name.split("rank")[1].split(".")[0]) >= dist.world_size():
            _drop_lines_after(path, step)


def _drop_lines_after(path: Path, step: int) -> None:
    """Keep the lines of steps up to `step`; a line cut off by a kill goes too."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if _step_of(line) <= step]
    with atomic_write(path) as stream:
        stream.writelines(kept)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")
