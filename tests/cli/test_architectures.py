"""`ggufkit architectures`: what can be converted, and how that was verified."""

import json

from ggufkit.architectures.catalog import EVIDENCE_LEVELS
from ggufkit.architectures.registry import architectures
from ggufkit.cli.main import main


def test_json_has_every_class(capsys):
    assert main(["architectures", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["evidence"] == dict(EVIDENCE_LEVELS)
    listed = [(row["architecture"], row["classes"]) for row in facts["architectures"]]
    known = {(a.name, a.hf_classes) for a in architectures()}  # two may be one family
    assert sorted(listed) == sorted((name, list(classes)) for name, classes in known)


def test_the_table_fits_80_columns_and_is_filtered(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["architectures", "phi"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert {"PhiForCausalLM", "Phi3ForCausalLM", "PhimoeForCausalLM"} <= set(out.split())
    assert "Llama" not in out
    assert "byte for byte" in out


def test_what_is_not_there_is_an_error_that_names_the_closest(capsys):
    assert main(["architectures", "qwenn"]) == 3
    assert "closest class is Qwen" in capsys.readouterr().err
