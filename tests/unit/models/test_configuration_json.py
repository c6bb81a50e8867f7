import json

import pytest

from mooer.common.errors import ConfigError
from mooer.models.configuration_json import check_file_names

USUAL = {
    "init_param": "model.pt",
    "config": "config.yaml",
    "tokenizer_conf": {"token_list": "tokens.json", "seg_dict_file": "seg_dict"},
    "frontend_conf": {"cmvn_file": "am.mvn"},
}


def write(folder, section):
    (folder / "configuration.json").write_text(json.dumps({"task": "x", "file_path_metas": section}))
    return folder


def test_usual_names(tmp_path):
    check_file_names(tmp_path)
    check_file_names(write(tmp_path, USUAL))
    check_file_names(write(tmp_path, {"init_param": "campplus_cn_common.bin"}))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"init_param": "other.pt"}, "init_param is 'other.pt'"),
        ({"frontend_conf": {"cmvn_file": "cmvn.txt"}}, "must be called am.mvn"),
        ({"lm": "lm.pt"}, "unknown key 'lm'"),
        ([], "not a JSON object"),
    ],
)
def test_names_that_are_not_read(tmp_path, section, message):
    with pytest.raises(ConfigError, match=message):
        check_file_names(write(tmp_path, section))
