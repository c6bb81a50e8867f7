"""Published corpora in miniature: a few tiny recordings each, in the layouts that the preparation scripts of the recipes read.

Each builder writes its corpus below a folder and returns the folder that its publishers would call the corpus.
"""

import json

import numpy as np
import soundfile

RATE = 16000


def write_audio(path, seconds=0.3, index=0):
    """A tone in noise, another one for each index; the kind of file follows from the name's ending, as the corpora have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(index).standard_normal(len(time))
    samples = 0.3 * np.sin(2 * np.pi * (200 + 40 * index) * time) + 0.02 * noise
    kinds = {".opus": {"format": "OGG", "subtype": "OPUS"}, ".mp3": {"format": "MP3"}}
    soundfile.write(path, samples, RATE, **kinds.get(path.suffix, {"subtype": "PCM_16"}))


def write_text(path, *lines, end="\n"):
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode("utf-8"))


AISHELL_SIZES = {"train": 12, "dev": 4, "test": 4}
AISHELL_SENTENCES = (
    "而 对 楼市 成交 抑制 作用 最 大 的 限 购",
    "也 成为 地方 政府 的 眼中 钉",
    "北京 是 中国 的 首都",
    "今天 天气 很 好",
)


def build_aishell(folder):
    """data_aishell with speakers in train, dev and test; one recording has no transcript, as in the corpus."""
    corpus = folder / "data_aishell"
    lines = []
    for number, (name, size) in enumerate(AISHELL_SIZES.items(), start=1):
        for index in range(size):
            speaker = f"S{number:02d}{index % 2:02d}"
            utterance = f"BAC009{speaker}W{121 + index:04d}"
            write_audio(corpus / "wav" / name / speaker / f"{utterance}.wav", 1 + index % 10 / 10, 20 * number + index)
            lines.append(f"{utterance} {AISHELL_SENTENCES[index % 4]}")
    write_audio(corpus / "wav" / "train" / "S0100" / "BAC009S0100W0999.wav", 1.9, 99)
    write_text(corpus / "transcript" / "aishell_transcript_v0.8.txt", *sorted(lines))
    return corpus


AISHELL2_SETS = {
    "AISHELL-2/iOS/data": "C0001",
    "AISHELL-DEV-TEST-SET/iOS/dev": "D0012",
    "AISHELL-DEV-TEST-SET/iOS/test": "T0013",
}


def build_aishell2(folder):
    """AISHELL-2 and its evaluation sets side by side: the channel iOS, three utterances a set."""
    for place, speaker in AISHELL2_SETS.items():
        names = [f"I{speaker}W{number:04d}" for number in (2, 1, 3)]
        for index, name in enumerate(names):
            write_audio(folder / place / "wav" / speaker / f"{name}.wav", index=index)
        write_text(folder / place / "wav.scp", *(f"{name}\twav/{speaker}/{name}.wav" for name in names))
        texts = ("厨房用品", "打开Ａpp'小成'", "here's 一首 let's go")
        lines = [f"{name}\t{text}" for name, text in zip(sorted(names), texts, strict=True)]
        write_text(folder / place / "trans.txt", *lines, end="\r\n")
    return folder


def build_magicdata(folder):
    """Three utterances in each set, with punctuation and tags of noise."""
    corpus = folder / "magicdata"
    texts = ("“请”搜索[FIL]一下，PROFILE。", "有 什么[SPK]好看？", "打 开 灯！")
    for name in ("train", "dev", "test"):
        lines = ["UtteranceID\tSpeakerID\tTranscription"]
        for number, text in enumerate(texts):
            file = f"38_57{number}_20170{number}.wav"
            write_audio(corpus / name / f"38_57{number}" / file, index=number)
            lines.append(f"{file}\t38_57{number}\t{text}")
        write_text(corpus / name / "TRANS.txt", *lines)
    return corpus


def build_thchs30(folder):
    """Recordings in data, and links to them in the sets, as published."""
    corpus = folder / "data_thchs30"
    for name, stems in {"train": ("A11_0", "A11_10"), "dev": ("A11_2",), "test": ("D31_750",)}.items():
        (corpus / name).mkdir(parents=True)
        for index, stem in enumerate(stems):
            write_audio(corpus / "data" / f"{stem}.wav", index=index)
            write_text(corpus / "data" / f"{stem}.wav.trn", "绿 是 阳春 烟 景 l =", "lv4 shi4", "l v4 sh ix4")
            (corpus / name / f"{stem}.wav").symlink_to(f"../data/{stem}.wav")
            write_text(corpus / name / f"{stem}.wav.trn", f"../data/{stem}.wav.trn")
    return corpus


def build_aidatatang(folder):
    """Two utterances of one speaker in each set."""
    corpus = folder / "aidatatang_200zh"
    lines = []
    for name, speaker in {"train": "G0013", "dev": "G0002", "test": "G0001"}.items():
        for number in (1, 2):
            stem = f"T0055{speaker}S{number:04d}"
            write_audio(corpus / "corpus" / name / speaker / f"{stem}.wav", index=number)
            lines.append(f"{stem} 以后 你 是 Ａ 级")
    write_text(corpus / "transcript" / "aidatatang_200_zh_transcript.txt", *lines)
    return corpus


def build_primewords(folder):
    """Two utterances, named by one JSON file."""
    corpus = folder / "primewords_md_2018_set1"
    records = []
    for number, text in enumerate(("我们 见面", "kk 音乐")):
        file = f"{number}a4b-c{number}.wav"
        write_audio(corpus / "audio_files" / str(number) / f"{number}a" / file, index=number)
        records.append({"id": str(number), "file": file, "user_id": f"{100 + number}", "text": text, "length": "0.3"})
    write_text(corpus / "set1_transcript.json", json.dumps(records, ensure_ascii=False))
    return corpus


def build_stcmds(folder):
    """Two utterances, each with a text file beside it."""
    corpus = folder / "ST-CMDS-20170001_1-OS"
    for index, (name, text) in enumerate({"20170001P00001A0001": "一，二", "20170001P00002I0119": "你好 吗？"}.items()):
        write_audio(corpus / f"{name}.wav", index=index)
        (corpus / f"{name}.txt").write_text(text, encoding="utf-8")
        (corpus / f"{name}.metadata").touch()
    return corpus


LIBRISPEECH_PARTS = {"train-clean-100": 12, "dev-clean": 4, "test-clean": 4, "test-other": 4}
LIBRISPEECH_SENTENCES = (
    "MISTER QUILTER IS THE APOSTLE OF THE MIDDLE CLASSES",
    "NOR IS MISTER QUILTER'S MANNER LESS INTERESTING",
    "HE HOPED THERE WOULD BE STEW FOR DINNER",
    "STUFF IT INTO YOU HIS BELLY COUNSELLED HIM",
)


def build_librispeech(folder, parts=LIBRISPEECH_PARTS):
    """LibriSpeech with two chapters in each of the parts; `parts` says how many utterances they have."""
    corpus = folder / "LibriSpeech"
    for number, (part, size) in enumerate(parts.items()):
        for chapter in range(2):
            speaker = f"{84 + number * 10 + chapter}"
            chapter_dir = corpus / part / speaker / f"{121123 + chapter}"
            lines = []
            for index in range(size // 2):
                utterance = f"{speaker}-{chapter_dir.name}-{index:04d}"
                sound = 20 * number + 10 * chapter + index
                write_audio(chapter_dir / f"{utterance}.flac", 1 + sound % 10 / 10, sound)
                lines.append(f"{utterance} {LIBRISPEECH_SENTENCES[index % 4]}")
            write_text(chapter_dir / f"{speaker}-{chapter_dir.name}.trans.txt", *lines)
    return corpus


TALK = {"aid": "POD1", "path": "audio/podcast/P0000/POD1.opus", "format": "opus", "sample_rate": 16000, "duration": 2.0}
MORE = {"aid": "YOU2", "path": "audio/youtube/P0001/YOU2.opus", "format": "opus", "sample_rate": 16000, "duration": 1.0}


def gigaspeech_segment(recording, number, text, *subsets):
    """A quarter of a second of a recording."""
    return {
        "sid": f"{recording}_S{number:07d}",
        "speaker": "N/A",
        "begin_time": number / 4,
        "end_time": (number + 1) / 4,
        "text_raw": "",
        "text_tn": text,
        "subsets": list(subsets),
    }


def write_metadata(path, audios):
    """The one JSON file that names all recordings and segments of GigaSpeech or WenetSpeech."""
    content = {"dataset": "x", "version": "v1.0.0", "numbers": [1, {"audios": []}], "audios": audios, "end": None}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def build_gigaspeech(folder):
    """A recording for training, of which a segment is music, and one for dev and test."""
    corpus = folder / "GigaSpeech"
    first = [
        gigaspeech_segment("POD1", 0, "YOU SEE <COMMA> SOMEONE'S SUIT <PERIOD>", "{XL}", "{M}"),
        gigaspeech_segment("POD1", 1, "<MUSIC>", "{XL}", "{M}"),
        gigaspeech_segment("POD1", 2, "IS IT <QUESTIONMARK> YES <EXCLAMATIONPOINT>", "{XL}"),
    ]
    second = [gigaspeech_segment("YOU2", 0, "TEST ONE", "{TEST}"), gigaspeech_segment("YOU2", 1, "DEV ONE", "{DEV}")]
    for audio in (TALK, MORE):
        write_audio(corpus / audio["path"], audio["duration"])
    write_metadata(corpus / "GigaSpeech.json", [MORE | {"segments": second}, TALK | {"segments": first}])
    return corpus


def build_wenetspeech(folder):
    """One recording for training, with segments of strong and of weak labels."""
    path = "audio/train/youtube/B00000/Y0000000000_--5llN02F84.opus"
    write_audio(folder / path, 3.0)
    segments = [
        {
            "sid": "S00000",
            "confidence": 1.0,
            "begin_time": 0.08,
            "end_time": 1.4,
            "subsets": ["L", "S"],
            "text": "怎么样，App store",
        },
        {"sid": "S00002", "begin_time": 1.4, "end_time": 3, "subsets": ["L"], "text": "挺好的"},
        {"sid": "S00003", "begin_time": 2, "end_time": 2.5, "subsets": ["W"], "text": "嗯"},
    ]
    for segment in segments:
        segment["sid"] = f"Y0000000000_--5llN02F84_{segment['sid']}"
    audios = [{"aid": "Y0000000000_--5llN02F84", "duration": 3.0, "path": path, "segments": segments}]
    write_metadata(folder / "WenetSpeech.json", audios)
    return folder


WENETSPEECH_EVALUATION = {
    "DEV": ("audio/dev/youtube/B00000/Y0000004000_--dev.opus", ("天气怎么样", "明天去公园")),
    "TEST_NET": ("audio/test_net/podcast/B00000/X0000005000_net.opus", ("App很好。",)),
    "TEST_MEETING": ("audio/test_meeting/far/B00000/T0000006000_meet.opus", ("我们开会",)),
}


def add_wenetspeech_evaluation(corpus):
    """A recording for each evaluation set, each with segments of one and a half seconds."""
    file = corpus / "WenetSpeech.json"
    audios = json.loads(file.read_text(encoding="utf-8"))["audios"]
    for index, (subset, (path, texts)) in enumerate(WENETSPEECH_EVALUATION.items(), start=1):
        write_audio(corpus / path, 1.5 * len(texts), index)
        name = (corpus / path).stem
        segments = [
            {
                "sid": f"{name}_S{number:05d}",
                "confidence": 1.0,
                "begin_time": 1.5 * number,
                "end_time": 1.5 * (number + 1),
                "subsets": [subset],
                "text": text,
            }
            for number, text in enumerate(texts)
        ]
        audios.append({"aid": name, "duration": 1.5 * len(texts), "path": path, "segments": segments})
    write_metadata(file, audios)


def build_ccmt2019(folder):
    """BSTC's development set: one talk with two translated stretches."""
    corpus = folder / "development_data"
    write_audio(corpus / "42.wav", 4.0)
    segments = [
        {"offset": "1.250", "duration": "0.750", "transcript": "你好。", "translation": " Hello, world. "},
        {"offset": 2.5, "duration": 1.1, "transcript": "欢迎 来。", "translation": "Welcome.", "wav": "42.wav"},
    ]
    write_text(corpus / "42.asr.json", *(json.dumps(segment, ensure_ascii=False) for segment in segments))
    return corpus


# id, file, printed, plain, characters, samples, gender
FLEURS_CHINESE = "1521\t{}.wav\t“这”不是告别。\t这 不 是 告 别\t这 | 不 | 是 |\t4800\tFEMALE"
FLEURS_ENGLISH = "3\t{}.wav\tIt's \"A\".\tit's a\t|\t4800\tMALE"


def build_fleurs(folder, row=FLEURS_CHINESE):
    """dev and test of one language, whose utterances all have the same row; `folder` is the language's."""
    for name, stems in {"dev": ("10053427", "9991"), "test": ("700", "701")}.items():
        for index, stem in enumerate(stems):
            write_audio(folder / "audio" / name / f"{stem}.wav", index=index)
        write_text(folder / f"{name}.tsv", *(row.format(stem) for stem in stems))
    return folder


CLIPS = {
    "common_voice_zh-CN_1.mp3": ("train", 'Hello \\"you\\".'),
    "common_voice_zh-CN_2.mp3": ("train_covost", "Two."),
    "common_voice_zh-CN_3.mp3": ("test", "Three,  four."),
    "common_voice_zh-CN_4.mp3": ("test_covost", "Five."),
    "common_voice_zh-CN_5.mp3": ("dev", "Six."),
}
COVOST_TABLES = {1: "covost.zh-CN_en.tsv", 2: "covost_v2.zh-CN_en.tsv"}


def build_covost(folder, version=2):
    """Clips of Common Voice, one of them not validated, and a table of translations; `folder` is the language's."""
    sentences = ["client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent"]
    sentences += [f"speaker{number}\t{clip}\t你好，世界{number}。\t2\t0\t\t\t" for number, clip in enumerate(CLIPS)]
    translations = [f"{clip}\t{text}\t{split}" for clip, (split, text) in CLIPS.items()]
    for index, clip in enumerate((*CLIPS, "common_voice_zh-CN_9.mp3")):
        write_audio(folder / "clips" / clip, index=index)
    write_text(folder / "validated.tsv", *sentences, "x\tcommon_voice_zh-CN_8.mp3\t没有翻译\t2\t0\t\t\t")
    write_text(folder / COVOST_TABLES[version], "path\ttranslation\tsplit", *translations)
    return folder
