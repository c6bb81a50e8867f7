"""Corpora of long recordings cut by time, in miniature: segments, subsets, texts, faults; and the reader of large JSON."""

import json

import json_stream
import pytest
from json_stream import iterate_array

from mooer.common.errors import DataError
from mooer.data.directory import read_data_dir

from ...miniature_corpora import (
    TALK,
    build_ccmt2019,
    build_gigaspeech,
    build_wenetspeech,
    gigaspeech_segment,
    write_audio,
    write_metadata,
    write_text,
)


@pytest.fixture
def gigaspeech(tmp_path):
    return build_gigaspeech(tmp_path)


def change(corpus, name, audios):
    """Replace the recordings of the metadata by what `audios` makes of them."""
    path = corpus / name
    write_metadata(path, audios(json.loads(path.read_text(encoding="utf-8"))["audios"]))


def test_gigaspeech(gigaspeech, prepare):
    done = prepare("gigaspeech", gigaspeech.parent, "--set", "train_xl", "--set", "train_m", "--set", "test")
    assert done.status == 0
    assert done.table("train_xl/text") == {"POD1_S0000000": "YOU SEE SOMEONE'S SUIT", "POD1_S0000002": "IS IT YES"}
    assert done.table("train_xl/segments") == {"POD1_S0000000": "POD1 0.0 0.25", "POD1_S0000002": "POD1 0.5 0.75"}
    assert done.table("train_xl/wav.scp") == {"POD1": str(gigaspeech / TALK["path"])}
    assert done.left_out("train_xl") == {"POD1_S0000001": "no_speech"}
    assert list(done.table("train_m/text")) == ["POD1_S0000000"]
    assert done.table("test/segments") == {"YOU2_S0000000": "YOU2 0.0 0.25"}
    assert done.tables("test") == ["segments", "text", "wav.scp"]
    reference = read_data_dir(done.folder / "train_xl").utterances[1].audio
    assert (reference.start, reference.end) == (0.5, 0.75)


def test_gigaspeech_faults(gigaspeech, prepare):
    (gigaspeech / TALK["path"]).unlink()
    extra = gigaspeech_segment("YOU2", 0, "TWICE", "{TEST}")
    broken = {"sid": "YOU2_S0000009", "subsets": ["{TEST}"], "text_tn": "NO TIMES"}
    late = gigaspeech_segment("YOU2", 5, "", "{TEST}") | {"end_time": 0.1}

    def audios(found):
        found[0]["segments"] += [extra, broken, late, {"subsets": None}]
        found[1]["segments"][0]["subsets"].append("{TEST}")
        return [*found, {"aid": "POD3"}]

    change(gigaspeech, "GigaSpeech.json", audios)
    done = prepare("gigaspeech", gigaspeech, "--set", "test")
    assert done.status == 1
    assert done.left_out("test") == {
        "YOU2_S0000000": "duplicate_id",
        "YOU2_S0000009": "malformed_record",
        "YOU2_S0000005": "empty_text",
        "YOU2": "malformed_record",
        "POD1": "missing_audio",
        "GigaSpeech.json: audios[2]": "malformed_record",
    }
    assert list(done.table("test/text")) == ["YOU2_S0000000"]


def test_segments_that_are_no_stretches(gigaspeech, prepare):
    def audios(found):
        found[0]["segments"][0] |= {"begin_time": 0.4, "end_time": 0.4}
        found[1] |= {"aid": "YOU2"}
        found[1]["segments"][0]["subsets"] = ["{DEV}"]
        return found

    change(gigaspeech, "GigaSpeech.json", audios)
    assert prepare("gigaspeech", gigaspeech, "--set", "test").status == 2
    done = prepare("gigaspeech", gigaspeech, "--set", "dev")
    # The same recording id names two files.
    assert done.left_out("dev") == {"POD1_S0000000": "duplicate_id"}


@pytest.fixture
def wenetspeech(tmp_path):
    return build_wenetspeech(tmp_path)


def test_wenetspeech(wenetspeech, prepare):
    done = prepare("wenetspeech", wenetspeech, "--set", "train_l", "--set", "train_s", "--set", "train_w")
    assert done.status == 0
    first, second = "Y0000000000_--5llN02F84_S00000", "Y0000000000_--5llN02F84_S00002"
    assert done.table("train_l/text") == {first: "怎么样APP STORE", second: "挺好的"}
    assert done.table("train_l/segments")[first] == "Y0000000000_--5llN02F84 0.08 1.4"
    assert list(done.table("train_s/text")) == [first]
    assert list(done.table("train_w/text")) == ["Y0000000000_--5llN02F84_S00003"]
    empty = prepare("wenetspeech", wenetspeech, "--set", "dev")
    assert empty.status == 2
    assert "dev: not one utterance can be used (there is none)" in empty.stderr
    assert "does not hold WenetSpeech" in prepare("wenetspeech", wenetspeech / "audio").stderr


@pytest.fixture
def bstc(tmp_path):
    return build_ccmt2019(tmp_path)


def test_ccmt2019(bstc, prepare):
    done = prepare("ccmt2019", bstc.parent)
    assert done.status == 0
    assert done.table("dev/segments") == {"bstc_42_00001": "bstc_42 1.25 2.0", "bstc_42_00002": "bstc_42 2.5 3.6"}
    assert done.table("dev/text") == {"bstc_42_00001": "你好。", "bstc_42_00002": "欢迎 来。"}
    assert done.table("dev/text.en") == {"bstc_42_00001": "Hello, world.", "bstc_42_00002": "Welcome."}
    assert done.table("dev/wav.scp") == {"bstc_42": str(bstc / "42.wav")}


def test_ccmt2019_faults(bstc, prepare):
    write_audio(bstc / "43.wav")
    write_text(bstc / "44.asr.json", "{}")
    faulty = [
        '{"offset": 1, "duration": 1, "transcript": "没有", "translation": ""}',
        '{"offset": 1, "duration": 1, "transcript": "没有"}',
        '{"offset": "x", "duration": 1, "transcript": "a", "translation": "a"}',
        '{"offset": 1, "duration": 1, "transcript": 7, "translation": "a"}',
        "[1",
        '{"offset": 1, "duration": 0, "transcript": "a", "translation": "a"}',
    ]
    with open(bstc / "42.asr.json", "a", encoding="utf-8") as stream:
        stream.write("\n".join(faulty) + "\n")
    done = prepare("ccmt2019", bstc)
    assert done.status == 1
    assert done.left_out("dev") == {
        "bstc_42_00003": "empty_text",
        **{f"42.asr.json:{number}": "malformed_line" for number in (4, 5, 6, 7)},
        "bstc_42_00008": "bad_segment",
        "43": "no_transcript",
        "44": "missing_audio",
    }
    assert len(done.table("dev/text")) == 2


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_json_is_read_item_by_item(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = tmp_path / "x.json"
    items = [{"a": ']},{"[', "b": [1.5, None]}, [], 1234567, "词", {}]
    for indent in (None, 2):
        path.write_text(json.dumps({"k": {"audios": 1}, "n": 12, "audios": items, "z": "]"}, indent=indent), encoding="utf-8")
        assert list(iterate_array(path, "audios")) == items
    path.write_text('{"audios" : [ ] }')
    assert list(iterate_array(path, "audios")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its end"),
        (b"[]", "there is no {"),
        (b'{"a": 1}', "has no 'audios'"),
        (b'{"audios": {}}', "there is no ["),
        (b'{"audios": [{}, {"a"', "damaged, or not JSON"),
        (b'{"audios": [{} {}]}', "there is no , or ]"),
        (b'{"audios": [{"a": nope}]}', "damaged, or not JSON"),
        (b'{"audios": ["\xff"]}', "is not UTF-8"),
    ],
)
def test_damaged_json_is_named(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json") as error:
        list(iterate_array(path, "audios"))
    assert message in str(error.value)
