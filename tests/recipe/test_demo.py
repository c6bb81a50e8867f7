"""mooer-demo in a real browser, with the packaged model and synthetic speech, and tiny models that speak."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
WAIT = 60
# Those after the first two keep the browser from asking for anything but the page.
BROWSER_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,1000"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
)
# Notes what a box showed, one value after the other.
WATCH = """
window.shown = [];
const look = () => {
  const box = document.querySelector('#transcript textarea');
  if (box && window.shown.at(-1) !== box.value) window.shown.push(box.value);
  requestAnimationFrame(look);
};
look();
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Paths of spoken sentences, and one recording of three of them with pauses, at 48 kHz as microphones have it."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("demo_speech")
    script = ROOT / "egs" / "mini" / "local" / "synthesize.py"
    options = ["--output_dir", str(folder), "--num_train", "2", "--num_test", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, *options], env=environment, check=True, capture_output=True)
    paths = sorted((folder / "test_en" / "wav").glob("*.wav"))
    pause = np.zeros(16000)
    joined = np.concatenate([pause, *(part for path in paths[:3] for part in (soundfile.read(path)[0], pause))])
    upsampled = np.interp(np.arange(3 * len(joined)) / 3, np.arange(len(joined)), joined)
    soundfile.write(folder / "microphone.wav", upsampled, 48000)
    return paths, folder / "microphone.wav"


@pytest.fixture(scope="module")
def open_browser(speech, tmp_path_factory):
    """Opens an address; the browser's microphone plays the joined recording again and again."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver (Debian's packages chromium and chromium-driver) are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (*BROWSER_OPTIONS, f"--use-file-for-fake-audio-capture={speech[1]}"):
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield lambda address: Page(browser, address)
    browser.quit()


@pytest.fixture(scope="module")
def demo():
    """Starts the command with options; the address of its page."""
    pytest.importorskip("gradio")
    started = []

    def start(*options):
        command = [sys.executable, ROOT / "bin" / "demo.py", *map(str, options)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1].stdout.readline().strip()

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=WAIT) == 0


class Page:
    """What a person does with the page."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address
        browser.get(address)
        self.until(lambda: self.all("#recording input[type=file]"))

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def until(self, found):
        deadline = time.monotonic() + WAIT
        while not (result := found()):
            assert time.monotonic() < deadline, self.all("body")[0].text + repr(self.texts())
            time.sleep(0.05)
        return result

    def upload(self, path):
        for cross in self.all("#recording button[aria-label=Clear]"):
            cross.click()
        self.until(lambda: self.all("#recording input[type=file]"))[0].send_keys(str(path))
        self.until(lambda: self.all("#recording audio") or self.all("#recording .waveform-container"))
        self.until(lambda: not self.all("#recording input[type=file]"))

    def click(self, text):
        self.until(lambda: [item for item in self.all("button") if item.is_displayed() and item.text.strip() == text])[
            0
        ].click()

    def texts(self):
        return [box.get_property("value") for box in self.all("textarea")]

    def value(self, box):
        return self.all(f"#{box} textarea")[0].get_property("value")

    def error(self):
        return self.until(lambda: next((item.text for item in self.all(".toast-body") if item.text), None))

    def speech(self):
        """The file that the player has, once it is drawn; None without speech."""
        script = "return document.querySelector('#speech #waveform > div')?.shadowRoot?.querySelector('canvas') != null"
        links = self.all("#speech a[download]")
        if not links or not self.browser.execute_script(script):
            return None
        with urllib.request.urlopen(links[0].get_attribute("href"), timeout=WAIT) as answer:
            return answer.read()


@pytest.fixture(scope="module")
def translating(demo, open_browser):
    address = demo("--task", "mtl", "--target_language", "zh")
    return lambda: open_browser(address)


@pytest.fixture(scope="module")
def expected():
    """Texts and translations of waveforms by greedy search."""
    from mooer.decode.recognizer import DecodeConfig, Recognizer

    config = DecodeConfig(task="mtl", target_language="zh", beam_size=1, device="cpu")
    recognizer = Recognizer.from_model_dir("mini", config)
    return lambda waveform: next(iter(recognizer.recognize([("a", waveform)]))).answer


def test_a_recording_is_transcribed_and_translated_while_one_looks(translating, speech, expected):
    from mooer.audio.io import load_audio

    page = translating()
    page.upload(speech[1])
    page.browser.execute_script(WATCH)
    page.click("Recognise")
    wanted = expected(load_audio(speech[1]))
    page.until(lambda: page.value("translation") == wanted.translation)
    assert page.value("transcript") == wanted.text
    shown = page.browser.execute_script("return window.shown")
    assert len([text for text in shown if text and text != wanted.text and wanted.text.startswith(text)]) > 1


def test_without_growth_the_search_is_the_models_own(translating, speech):
    from mooer.audio.io import load_audio
    from mooer.decode.recognizer import DecodeConfig, Recognizer

    config = DecodeConfig(task="mtl", target_language="zh", device="cpu")
    (wanted,) = Recognizer.from_model_dir("mini", config).recognize([("a", load_audio(speech[0][1]))])
    page = translating()
    page.upload(speech[0][1])
    page.all("#grows input")[0].click()
    page.browser.execute_script(WATCH)
    page.click("Recognise")
    page.until(lambda: page.value("translation") == wanted.answer.translation)
    assert page.browser.execute_script("return window.shown") == ["", wanted.answer.text]


def test_what_is_wrong_is_said(translating, tmp_path):
    page = translating()
    page.click("Recognise")
    assert "no recording yet" in page.error()
    page = translating()
    (tmp_path / "broken.wav").write_bytes(b"RIFFxxxxWAVEnothing at all")
    page.upload(tmp_path / "broken.wav")
    page.click("Recognise")
    message = page.error()
    assert re.search(r"broken\.wav: \w+", message)
    assert "/" not in message


def test_a_text_to_be_mistrusted_is_marked(translating, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(500), 16000)
    page = translating()
    page.upload(tmp_path / "short.wav")
    page.click("Recognise")
    assert "too short" in page.error()


def test_nothing_comes_from_elsewhere(translating):
    page = translating()
    names = page.browser.execute_script("return performance.getEntriesByType('resource').map(item => item.name)")
    assert len(names) > 10
    assert [name for name in names if not name.startswith(page.address)] == []


def test_a_microphone_is_heard_live(translating):
    """What the browser makes of its microphone's sound is its own affair, so texts are held to the grammar only."""
    page = translating()
    page.click("Live")
    page.click("Record")
    seen = set()

    def lines():
        seen.add(page.value("live"))
        return page.value("live").split("\n")

    page.until(lambda: len(lines()) >= 6)
    page.click("Stop")
    page.until(lambda: len(page.all("#microphone .stop-button")) == 0)
    text = page.value("live").split("\n")
    assert all(re.fullmatch(r"[a-z]+( [a-z]+){3,}", line) for line in text[::2]), text
    assert all(re.fullmatch("[\u4e00-\u9fff]{4,}", line) for line in text[1::2]), text
    assert len(text) >= 6
    assert len(seen) > 2, "texts come while one speaks"


def test_long_recordings_have_sentences_speakers_and_subtitles(demo, open_browser, golden_paraformer, tmp_path):
    from mooer.pipeline.long_audio import Transcriber
    from mooer.pipeline.subtitles import srt
    from mooer.pipeline.transcriber_config import TranscriberConfig

    folder = golden_paraformer / "e2e"
    named = {name: str(folder / name.removesuffix("_dir")) for name in ("vad_dir", "punc_dir", "spk_dir")}
    options = {"model_dir": str(folder / "asr"), **named}
    wanted = Transcriber(TranscriberConfig(**options, device="cpu"))(folder / "audio.wav")
    page = open_browser(demo(*(part for name, value in options.items() for part in (f"--{name}", value))))
    page.browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.upload(folder / "audio.wav")
    page.click("Recognise")
    page.until(lambda: page.value("transcript") == wanted.text)
    table = page.until(lambda: next((item.text for item in page.all("#sentences") if "0:" in item.text), None))
    assert all(item.text.strip() in table and f"spk{item.speaker}" in table for item in wanted.sentences)
    page.until(lambda: page.all("#srt:not([disabled])"))
    page.click("Subtitles (srt)")
    page.until((tmp_path / "audio.srt").exists)
    assert (tmp_path / "audio.srt").read_text(encoding="utf-8") == srt(wanted)


@pytest.fixture(scope="module")
def questions(golden, tmp_path_factory):
    """Paths of real recordings."""
    from mooer.audio.io import load_audio

    folder = tmp_path_factory.mktemp("questions")
    samples = load_audio(golden / "wav/utt2.wav").numpy()
    paths = [folder / f"q{index}.wav" for index in range(30)]
    for index, path in enumerate(paths):
        soundfile.write(path, samples[1000 * index :][: 8000 + 1000 * index], 16000, "PCM_16")
    return paths


@pytest.fixture(scope="module")
def spoken(speaking, questions, tmp_path_factory):
    """What mooer-speak makes of the questions, each with its history: by path, the line of its results and the file or None."""
    from mooer.cli.speak import main

    def speak(task, history=()):
        folder = tmp_path_factory.mktemp("spoken") / "out"
        options = [*_speaking_options(speaking, task), "--output_dir", folder]
        if history:
            folder.with_name("history.jsonl").write_text("\n".join(map(json.dumps, history)))
            options += ["--history", folder.with_name("history.jsonl")]
        logging.getLogger().handlers.clear()
        result = CliRunner().invoke(main, [*map(str, options), *map(str, questions)])
        assert result.exit_code in (0, 1), result.stderr
        lines = [line for name in ("results", "failed") for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        entries = {entry["id"]: entry for entry in map(json.loads, lines)}
        wavs = {path: folder / path.name for path in questions}
        return {path: (entries[path.stem], wav.read_bytes() if wav.exists() else None) for path, wav in wavs.items()}

    return speak


def _speaking_options(folder, task):
    return ["--task", task, "--model_dir", folder, "--vocoder_path", folder / "vocoder.pt", "--device", "cpu"]


@pytest.fixture(scope="module")
def interpreting(demo, open_browser, speaking):
    address = demo(*_speaking_options(speaking, "s2s_trans"))
    return lambda: open_browser(address)


@pytest.mark.parametrize("is_spoken", [True, False])
def test_a_recording_is_answered_in_speech(interpreting, spoken, is_spoken):
    answers = [(path, entry, wav) for path, (entry, wav) in spoken("s2s_trans").items() if entry["text"].isprintable()]
    path, entry, wav = next(item for item in answers if item[1]["text"].strip() and (item[2] is not None) == is_spoken)
    page = interpreting()
    assert not [item for item in page.all("#anew, #microphone") if item.is_displayed()]
    page.upload(path)
    page.click("Translate")
    page.until(lambda: page.value("translation") == entry["text"])
    if is_spoken:
        assert page.until(page.speech) == wav
    else:
        assert entry["message"] in page.error()
        assert not page.all("#speech a[download]")


def test_a_chat_goes_on_and_begins_anew(demo, open_browser, speaking, spoken):
    """What the page remembers is this history of mooer-speak."""
    first = {path: item for path, item in spoken("s2s_chat").items() if item[1] and item[0]["text"].strip()}
    history = []
    for path, (entry, _) in first.items():
        history.append({"id": path.stem, "role": "user", "text": "Answer my question with speech."})
        history.append({"id": path.stem, "role": "assistant", "text": entry["text"].strip()})
    second = spoken("s2s_chat", history)
    path = next(path for path, (_, wav) in first.items() if second[path][1] not in (None, wav))
    page = open_browser(demo(*_speaking_options(speaking, "s2s_chat")))

    def ask(entry, wav):
        page.upload(path)
        page.click("Answer")
        page.until(lambda: page.speech() == wav)
        assert page.value("answer").split() == entry["text"].split()

    ask(*first[path])
    ask(*second[path])
    page.click(f"Begin anew (answers remembered: {2 if second[path][0]['text'].strip() else 1})")
    page.until(lambda: not page.all("#speech a[download]"))
    assert page.value("answer") == ""
    ask(*first[path])


def test_a_question_may_come_from_the_microphone(interpreting):
    """What the browser makes of its microphone's sound is its own affair, and so is the answer."""
    page = interpreting()
    page.until(lambda: page.all("#recording [aria-label='Record audio']"))[0].click()
    page.click("Record")
    page.until(lambda: page.all("#recording [aria-label=pause]"))
    time.sleep(2)  # what is recorded
    page.click("Stop")
    page.until(lambda: page.all("#recording [aria-label=Play]"))
    time.sleep(0.5)  # it is uploaded
    page.click("Translate")
    page.until(lambda: page.speech() or any("no speech" in item.text for item in page.all(".toast-body")))


def test_what_is_wrong_with_a_question_is_said(interpreting, tmp_path):
    page = interpreting()
    page.click("Translate")
    assert "no recording yet" in page.error()
    page = interpreting()
    (tmp_path / "broken.wav").write_bytes(b"RIFFxxxxWAVEnothing at all")
    page.upload(tmp_path / "broken.wav")
    page.click("Translate")
    message = page.error()
    assert re.search(r"broken\.wav: \w+", message)
    assert "/" not in message
