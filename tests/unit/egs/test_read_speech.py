"""Corpora of read Mandarin speech, in miniature and in their published layouts: ids, texts, speakers, and faults named."""

import json

import pytest

from ... import miniature_corpora
from ...miniature_corpora import write_audio


@pytest.fixture
def aishell2(tmp_path):
    return miniature_corpora.build_aishell2(tmp_path)


def test_aishell2(aishell2, prepare):
    done = prepare("aishell2", aishell2)
    assert (done.status, done.left_out("train")) == (0, {})
    assert done.table("train/text") == {
        "IC0001W0001": "厨房用品",
        "IC0001W0002": "打开APP小成",
        "IC0001W0003": "HERE'S一首LET'S GO",
    }
    assert list(done.table("test_ios/text")) == ["IT0013W0001", "IT0013W0002", "IT0013W0003"]
    assert set(done.table("dev_ios/utt2spk").values()) == {"D0012"}
    folder = aishell2 / "AISHELL-DEV-TEST-SET" / "iOS" / "test"
    assert done.table("test_ios/wav.scp")["IT0013W0001"] == str(folder / "wav/T0013/IT0013W0001.wav")


def test_aishell2_sets_are_downloaded_apart(aishell2, prepare):
    evaluation = aishell2 / "AISHELL-DEV-TEST-SET"
    assert prepare("aishell2", evaluation, "--set", "test_ios").status == 0
    done = prepare("aishell2", evaluation, "--set", "test_ios", "--set", "train")
    assert done.status == 2
    assert "has no set train" in done.stderr
    assert prepare("aishell2", aishell2, "--set", "test_pc").status == 2


def test_aishell2_faults(aishell2, prepare):
    folder = aishell2 / "AISHELL-DEV-TEST-SET" / "iOS" / "test"
    (folder / "wav/T0013/IT0013W0001.wav").unlink()
    with open(folder / "trans.txt", "ab") as stream:
        stream.write("IT0013W0009\t没有\r\nIT0013W0003\t又一次\r\n".encode() + b"\xff\xfe\n")
    with open(folder / "wav.scp", "ab") as stream:
        stream.write(b"IT0013W0008\twav/T0013/IT0013W0008.wav\n")
    done = prepare("aishell2", aishell2)
    assert done.status == 1
    assert done.left_out("train") == {}
    assert done.left_out("test_ios") == {
        "IT0013W0001": "missing_audio",
        "IT0013W0003": "duplicate_id",
        "IT0013W0008": "no_transcript",
        "IT0013W0009": "missing_audio",
        "trans.txt:6": "malformed_line",
    }
    assert done.table("test_ios/text") == {"IT0013W0002": "打开APP小成", "IT0013W0003": "HERE'S一首LET'S GO"}
    assert "5 left out (duplicate_id 1, malformed_line 1, missing_audio 2, no_transcript 1)" in done.stderr


@pytest.fixture
def magicdata(tmp_path):
    return miniature_corpora.build_magicdata(tmp_path)


def test_magicdata(magicdata, prepare):
    done = prepare("magicdata", magicdata.parent)
    assert done.status == 0
    assert done.table("test/text") == {
        "38_570_201700": "请搜索一下PROFILE",
        "38_571_201701": "有什么好看",
        "38_572_201702": "打开灯",
    }
    assert done.table("dev/utt2spk")["38_571_201701"] == "38_571"
    assert done.tables("train") == ["text", "utt2spk", "wav.scp"]


def test_magicdata_faults(magicdata, prepare):
    write_audio(magicdata / "train" / "16_4013" / "16_4013_20170819121429.wav")
    write_audio(magicdata / "dev" / "38_570" / "38_570_9.wav")
    with open(magicdata / "train" / "TRANS.txt", "a", encoding="utf-8") as stream:
        stream.write("16_4013_20170819121429.wav\t16_4013\t坏\n")
    known = prepare("magicdata", magicdata, "--set", "train")
    assert (known.status, known.left_out("train")) == (0, {"16_4013_20170819121429": "bad_recording"})
    with open(magicdata / "dev" / "TRANS.txt", "a", encoding="utf-8") as stream:
        stream.write("38_9_9.wav\t38_9\t没有\nno tabs\n38_570_201700.wav\t38_570\t又\n")
    done = prepare("magicdata", magicdata)
    assert done.status == 1
    assert done.left_out("dev") == {
        "38_9_9": "missing_audio",
        "TRANS.txt:6": "malformed_line",
        "38_570_201700": "duplicate_id",
        "38_570_9": "no_transcript",
    }
    (magicdata / "dev" / "TRANS.txt").write_text("ID\ttext\n")
    assert "has no column 'UtteranceID'" in prepare("magicdata", magicdata).stderr


@pytest.fixture
def thchs30(tmp_path):
    return miniature_corpora.build_thchs30(tmp_path)


def test_thchs30(thchs30, prepare):
    done = prepare("thchs30", thchs30)
    assert done.status == 0
    assert done.table("train/text") == {"A11_0": "绿是阳春烟景", "A11_10": "绿是阳春烟景"}
    assert done.table("test/utt2spk") == {"D31_750": "D31"}
    assert done.table("test/wav.scp") == {"D31_750": str(thchs30 / "data" / "D31_750.wav")}


def test_thchs30_faults(thchs30, prepare):
    (thchs30 / "data" / "A11_0.wav").unlink()
    (thchs30 / "test" / "D31_751.wav").symlink_to("../data/D31_751.wav")
    done = prepare("thchs30", thchs30)
    assert done.status == 1
    assert done.left_out("train") == {"A11_0": "missing_audio"}
    assert done.left_out("test") == {"D31_751": "no_transcript"}
    (thchs30 / "dev" / "A11_2.wav").unlink()
    assert "dev holds no .wav" in prepare("thchs30", thchs30).stderr
    assert prepare("thchs30", thchs30 / "data").status == 2


@pytest.fixture
def aidatatang(tmp_path):
    return miniature_corpora.build_aidatatang(tmp_path)


def test_aidatatang(aidatatang, prepare):
    done = prepare("aidatatang", aidatatang.parent)
    assert done.status == 0
    assert done.table("dev/text") == {"T0055G0002S0001": "以后你是A级", "T0055G0002S0002": "以后你是A级"}
    assert set(done.table("test/utt2spk").values()) == {"G0001"}


def test_aidatatang_faults(aidatatang, prepare):
    write_audio(aidatatang / "corpus" / "dev" / "G0002" / "T0055G0002S0009.wav")
    with open(aidatatang / "transcript" / "aidatatang_200_zh_transcript.txt", "ab") as stream:
        stream.write(b"T0055G0013S0001 x\n\xff\n")
    done = prepare("aidatatang", aidatatang)
    assert done.status == 1
    assert done.left_out("train") == {
        "T0055G0013S0001": "duplicate_id",
        "aidatatang_200_zh_transcript.txt:8": "malformed_line",
    }
    assert done.left_out("dev") == {"T0055G0002S0009": "no_transcript"}
    for path in (aidatatang / "corpus" / "test" / "G0001").iterdir():
        path.unlink()
    (aidatatang / "corpus" / "test" / "G0001.tar.gz").touch()
    packed = prepare("aidatatang", aidatatang)
    assert packed.status == 2
    assert "archives of the speakers are not unpacked" in packed.stderr


@pytest.fixture
def primewords(tmp_path):
    return miniature_corpora.build_primewords(tmp_path)


def test_primewords(primewords, prepare):
    done = prepare("primewords", primewords)
    assert done.status == 0
    assert done.table("train/text") == {"0a4b-c0": "我们见面", "1a4b-c1": "KK音乐"}
    assert done.table("train/utt2spk") == {"0a4b-c0": "100", "1a4b-c1": "101"}


def test_primewords_faults(primewords, prepare):
    path = primewords / "set1_transcript.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    extra = {"id": "7", "file": "7.wav", "user_id": "1", "text": "多"}
    path.write_text(json.dumps([*records, extra]), encoding="utf-8")
    known = prepare("primewords", primewords)
    assert (known.status, known.left_out("train")) == (0, {"7": "no_recording"})
    write_audio(primewords / "audio_files" / "8.wav")
    path.write_text(json.dumps([*records, {**extra, "text": None}, records[0], []]), encoding="utf-8")
    done = prepare("primewords", primewords)
    assert done.status == 1
    assert done.left_out("train") == {
        "set1_transcript.json:2": "malformed_record",
        "0a4b-c0": "duplicate_id",
        "set1_transcript.json:4": "malformed_record",
        "8": "no_transcript",
    }
    path.write_text("[{")
    assert "is not JSON" in prepare("primewords", primewords).stderr


@pytest.fixture
def stcmds(tmp_path):
    return miniature_corpora.build_stcmds(tmp_path)


def test_stcmds(stcmds, prepare):
    done = prepare("stcmds", stcmds.parent)
    assert done.status == 0
    assert done.table("train/text") == {"20170001P00001A0001": "一二", "20170001P00002I0119": "你好吗"}
    assert done.table("train/utt2spk") == {"20170001P00001A0001": "P00001", "20170001P00002I0119": "P00002"}


def test_stcmds_faults(stcmds, prepare):
    (stcmds / "20170001P00002I0119.wav").unlink()
    write_audio(stcmds / "20170001P00003A0001.wav")
    write_audio(stcmds / "readme.wav")
    write_audio(stcmds / "20170001P00004A0001.wav")
    (stcmds / "20170001P00004A0001.txt").write_text("，")
    done = prepare("stcmds", stcmds)
    assert done.status == 1
    assert done.left_out("train") == {
        "20170001P00002I0119": "missing_audio",
        "20170001P00003A0001": "no_transcript",
        "20170001P00004A0001": "empty_text",
        "readme": "bad_id",
    }
    assert prepare("stcmds", stcmds.parent / "elsewhere").status == 2


def test_a_rerun_leaves_nothing_of_the_run_before(stcmds, prepare):
    write_audio(stcmds / "20170001P00003A0001.wav")
    assert prepare("stcmds", stcmds).left_out("train")
    (stcmds / "20170001P00003A0001.txt").write_text("三")
    done = prepare("stcmds", stcmds)
    assert (done.status, done.tables("train")) == (0, ["text", "utt2spk", "wav.scp"])


def test_a_corpus_of_which_nothing_can_be_used_is_refused(stcmds, prepare):
    for path in stcmds.glob("*.txt"):
        path.unlink()
    done = prepare("stcmds", stcmds)
    assert done.status == 2
    assert "not one utterance can be used (no_transcript 2)" in done.stderr
    assert not done.folder.exists()
