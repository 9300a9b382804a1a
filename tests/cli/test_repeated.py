"""An option of which only the last value would count is given once."""

from __future__ import annotations

import pytest

from ggufkit.cli.main import main


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("fit --params 7B --vram 12G --vram 12G", "--vram"),
        ("fit --params 7B --vram 12G --ram 1G --ram=2G", "--ram"),
        ("convert some -o out -o other", "--out"),
        ("inspect m.gguf --stats -j 2 --jobs 3", "--jobs"),
        ("split m.gguf out --max-size 1G --max-size 2G", "--max-size"),
    ],
)
def test_a_repeated_option_is_a_usage_error(words: str, option: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    assert f"{option} is given 2 times" in capsys.readouterr().err


def test_options_that_collect_and_flags_may_be_repeated(tmp_path, capsys) -> None:
    assert main(["edit", str(tmp_path / "no"), "--set", "a=1", "--set", "b=1", "-q", "-q"]) == 3
    assert "times" not in capsys.readouterr().err
