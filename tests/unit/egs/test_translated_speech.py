"""FLEURS, CoVoST and tables of one's own, in miniature: ids, texts, translations, sets, faults."""

import pytest

from ...miniature_corpora import FLEURS_CHINESE, build_covost, build_fleurs, write_audio, write_text


@pytest.fixture
def fleurs(tmp_path):
    return build_fleurs(tmp_path / "cmn_hans_cn")


def test_fleurs(fleurs, prepare):
    done = prepare("fleurs", fleurs)
    assert done.status == 0
    assert done.table("dev/text") == {"10053427": "这不是告别", "9991": "这不是告别"}
    assert done.table("test/wav.scp")["700"] == str(fleurs / "audio" / "test" / "700.wav")
    assert done.tables("dev") == ["text", "wav.scp"]
    write_text(fleurs / "test.tsv", "3\t700.wav\tIt's \"A\".\tit's a\t|\t4800\tMALE", "3\t701.wav\tB\tb\t|\t4800\tMALE")
    assert prepare("fleurs", fleurs, "--set", "test").table("test/text") == {"700": "IT'S A", "701": "B"}


def test_fleurs_faults(fleurs, prepare):
    write_audio(fleurs / "audio" / "dev" / "5.wav")
    rows = [FLEURS_CHINESE.format(stem) for stem in ("9991", "9991", "8")]
    write_text(fleurs / "dev.tsv", *rows, "8\t8.wav")
    done = prepare("fleurs", fleurs)
    assert done.status == 1
    assert done.left_out("dev") == {
        "9991": "duplicate_id",
        "8": "missing_audio",
        "dev.tsv:4": "malformed_line",
        "10053427": "no_transcript",
        "5": "no_transcript",
    }
    packed = prepare("fleurs", fleurs, "--set", "train")
    assert packed.status == 2
    assert "train.tsv does not exist" in packed.stderr


@pytest.fixture
def covost(tmp_path):
    return build_covost(tmp_path / "zh-CN")


def test_covost2(covost, prepare):
    done = prepare("covost", covost, "--version", 2)
    assert done.status == 0
    assert done.table("train/text.en") == {"common_voice_zh-CN_1": 'Hello "you".', "common_voice_zh-CN_2": "Two."}
    assert done.table("test/text.en") == {"common_voice_zh-CN_3": "Three, four."}
    assert done.table("test/text") == {"common_voice_zh-CN_3": "你好，世界2。"}
    assert done.table("dev/utt2spk") == {"common_voice_zh-CN_5": "speaker4"}
    assert done.table("dev/wav.scp") == {"common_voice_zh-CN_5": str(covost / "clips" / "common_voice_zh-CN_5.mp3")}


def test_covost1_has_larger_sets_and_a_table_of_its_own(covost, prepare):
    absent = prepare("covost", covost, "--version", 1)
    assert absent.status == 2
    assert "covost.zh-CN_en.tsv does not exist" in absent.stderr
    table = covost.parent / "covost.zh-CN_en.tsv"
    (covost / "covost_v2.zh-CN_en.tsv").rename(table)
    done = prepare("covost", covost, "--version", 1, "--translations", table, "--set", "test")
    assert list(done.table("test/text.en")) == ["common_voice_zh-CN_3", "common_voice_zh-CN_4"]


def test_covost_faults(covost, prepare):
    (covost / "clips" / "common_voice_zh-CN_1.mp3").unlink()
    rows = [
        "common_voice_zh-CN_7.mp3\tSeven.\ttrain",
        "common_voice_zh-CN_8.mp3\t\ttrain",
        "common_voice_zh-CN_2.mp3\tAgain.\ttrain",
        "common_voice_zh-CN_8.mp3\tEight.\tvalidation",
        "common_voice_zh-CN_8.mp3\tEight.",
    ]
    with open(covost / "covost_v2.zh-CN_en.tsv", "a", encoding="utf-8") as stream:
        stream.write("\n".join(rows) + "\n")
    done = prepare("covost", covost, "--version", 2)
    assert done.status == 1
    problems = (done.folder / "train" / "failed.jsonl").read_text(encoding="utf-8")
    assert done.left_out("train") == {
        "common_voice_zh-CN_1": "missing_audio",
        "common_voice_zh-CN_7": "no_transcript",
        "common_voice_zh-CN_8": "empty_text",
        "common_voice_zh-CN_2": "duplicate_id",
        "common_voice_zh-CN_8.mp3": "bad_split",
        "covost_v2.zh-CN_en.tsv:11": "malformed_line",
    }
    assert "covost_v2.zh-CN_en.tsv:10: split 'validation' is none of" in problems
    assert done.left_out("test") == {}


COLUMNS = "id\taudio\tstart\tend\tzh\ten"


def test_tables_of_ones_own(tmp_path, prepare):
    for name in ("a/1.wav", "b/1.wav"):
        write_audio(tmp_path / name, 1.0)
    write_text(tmp_path / "dev.tsv", COLUMNS, "u2\ta/1.wav\t0\t0.5\t你好\tHello.", "u1\tb/1.wav\t0.25\t1\t再见\tBye.")
    write_text(tmp_path / "test.tsv", COLUMNS, "u2\ta/1.wav\t\t\t你好\tHello.")
    done = prepare("tsv", tmp_path, "--set", "dev", "--set", "test")
    assert done.status == 0
    assert done.table("dev/segments") == {"u1": "b_1 0.25 1.0", "u2": "a_1 0.0 0.5"}
    assert done.table("dev/text.en") == {"u1": "Bye.", "u2": "Hello."}
    assert done.table("test/wav.scp") == {"u2": str(tmp_path / "a/1.wav")}
    assert done.tables("test") == ["text", "text.en", "wav.scp"]
    # A rerun on another table leaves no segments of the one before.
    (tmp_path / "test.tsv").rename(tmp_path / "dev.tsv")
    assert prepare("tsv", tmp_path, "--set", "dev").tables("dev") == ["text", "text.en", "wav.scp"]


def test_faults_in_tables_of_ones_own(tmp_path, prepare):
    write_audio(tmp_path / "a.wav", 1.0)
    places = {
        "u1": "a.wav\t0\t1",
        "u2": "a.wav\t\t",
        "u3": "a.wav\t0\t",
        "u4": "a.wav\t0\tx",
        "u5": "a.wav\t1\t0",
        "u6": "b.wav\t0\t1",
        "u 7": "a.wav\t0\t1",
    }
    rows = [*(f"{name}\t{place}\t你\tYou." for name, place in places.items()), "u8\ta.wav\t0\t1\t\x07\tYou."]
    write_text(tmp_path / "dev.tsv", COLUMNS, *rows)
    done = prepare("tsv", tmp_path, "--set", "dev")
    assert done.status == 1
    assert done.left_out("dev") == {
        **{f"dev.tsv:{number}": "malformed_line" for number in (3, 4, 5)},
        "u5": "bad_segment",
        "u6": "missing_audio",
        "u 7": "bad_id",
        "u8": "bad_text",
    }
    assert prepare("tsv", tmp_path, "--set", "../dev").status == 2
    assert "train.tsv does not exist" in prepare("tsv", tmp_path, "--set", "train").stderr
    write_text(tmp_path / "dev.tsv", "id\taudio\tzh\ten", "u1\ta.wav\t你\tYou.")
    assert "no column 'start'" in prepare("tsv", tmp_path, "--set", "dev").stderr
