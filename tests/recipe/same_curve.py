"""What holds for the training of every kind of model: a run can be spread over ranks, and made in parts."""

import pytest

from mooer.common.config import load_yaml
from mooer.train.config import RunConfig
from mooer.train.run import run_training

from ..ranks import run_ranks
from . import train_rank

FOUR_STEPS = {"max_steps": 4, "accumulation": 2}


def run(path, folder, **options):
    """Train by a file to a folder, in this process."""
    run_training(load_yaml(path, RunConfig), folder, **options)


class SameCurve:
    """Tests for a module whose fixture `training_file` writes a training file, of which the arguments override sections."""

    @pytest.fixture
    def curve(self, training_file, tone_runs, tmp_path):
        """The losses of four steps in one process, of two micro-batches each."""
        run(training_file(training=FOUR_STEPS), tmp_path / "one")
        losses = tone_runs.losses(tmp_path / "one")
        assert len(losses) == 4
        return losses

    def test_two_ranks_make_the_steps_of_one(self, training_file, curve, tone_runs, tmp_path):
        config = training_file(training={"max_steps": 4, "zero_stage": 2})
        run_ranks(train_rank.__file__, [2], config, tmp_path / "two")
        assert tone_runs.losses(tmp_path / "two") == pytest.approx(curve, rel=2e-5)

    def test_a_run_in_parts_is_the_run(self, training_file, curve, tone_runs, tmp_path):
        run(training_file(training=FOUR_STEPS | {"max_steps": 2}), tmp_path / "parts")
        run(training_file(training=FOUR_STEPS), tmp_path / "parts", resume=True)
        assert tone_runs.losses(tmp_path / "parts") == pytest.approx(curve, rel=2e-5)
