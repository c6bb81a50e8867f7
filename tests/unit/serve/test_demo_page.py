"""The demo page as it is served, without a browser: that is in tests/recipe."""

import json
import os
import socket
import urllib.request
from pathlib import Path

import pytest

from mooer.common.errors import ConfigError
from mooer.pipeline.speech_segments import SpeechSegment
from mooer.pipeline.transcription import SegmentFailure, Sentence, Transcription
from mooer.serve.demo import _rows, running_demo
from mooer.serve.demo_model import DemoConfig, DemoModel


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("gradio")
    return DemoModel(DemoConfig(device="cpu"))


def fetch(address, path=""):
    with urllib.request.urlopen(address + path, timeout=60) as answer:
        return answer.read().decode("utf-8")


def test_the_page_asks_for_nothing_from_elsewhere_and_leaves_nothing(model):
    with running_demo(model) as address:
        assert address.startswith("http://127.0.0.1:")
        page, config = fetch(address), json.loads(fetch(address, "config"))
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir()
    assert "mooer" in page
    assert "fonts.googleapis" not in page
    assert config["stylesheets"] == []
    assert not config["analytics_enabled"]
    assert not config["run_history"]
    assert config["max_file_size"] == 1 << 30
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not folder.exists()


def test_an_address_that_is_taken(model):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)), running_demo(model, server_port=port):
            pass


def test_the_table_of_sentences():
    sentences = (Sentence("one.", 1_000, 2_500, 1, ()), Sentence("two.", 62_000, 3_723_004, None, ()))
    found = Transcription(
        key="a",
        text="one.two.",
        raw_text="one two",
        segments=(SpeechSegment(1_000, 2_500),),
        sentences=sentences,
        words=(),
        turns=None,
        score=0.0,
        flags=(),
        failures=(SegmentFailure(4_000, 5_000, "not_finite", "broken"),),
        seconds=70.0,
        elapsed_seconds=1.0,
    )
    assert _rows(found, has_speakers=True) == [
        ["0:01.000", "0:02.500", "spk1", "one."],
        ["0:04.000", "0:05.000", "", "[broken]"],
        ["1:02.000", "62:03.004", "", "two."],
    ]
    assert _rows(found, has_speakers=False)[0] == ["0:01.000", "0:02.500", "one."]
