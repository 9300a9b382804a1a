"""`ggufkit doctor`: the report and its self test."""

import json

import pytest

from ggufkit import kernels
from ggufkit.cli.commands import doctor
from ggufkit.cli.main import main


@pytest.fixture
def call(capsys):
    """Run the command; return its exit code and what it prints."""

    def run(*arguments):
        code = main(["doctor", *arguments])
        return code, capsys.readouterr().out

    return run


def test_a_healthy_installation(call):
    code, printed = call("--json")
    found = json.loads(printed)
    assert code == 0
    assert found["kernels"]["active"] == kernels.active()
    assert found["kernels"]["available"] == ["none", *kernels.available()]
    assert found["packages"]["numpy"]
    assert not found["self_test"]["different"]


def test_every_kernel_is_tested(call, monkeypatch):
    if not kernels.available():
        pytest.skip("no compiled kernels here")
    monkeypatch.setattr(doctor, "SECONDS", 60)
    found = json.loads(call("--json")[1])
    assert not found["self_test"]["not_reached"]
    assert {"Q4_K", "Q6_K", "IQ2_XS", "F16"} <= set(found["self_test"]["same"])


def test_a_wrong_kernel_is_found(call, monkeypatch):
    if not kernels.available():
        pytest.skip("no compiled kernels here")
    real = kernels.encoder

    def wrong(tensor_type):
        encode = real(tensor_type)
        if tensor_type.name != "Q4_0":
            return encode

        def encode_wrongly(rows, importance, out):
            encode(rows, importance, out)
            out[0, 0] ^= 1

        return encode_wrongly

    monkeypatch.setattr(kernels, "encoder", wrong)
    code, printed = call("--json")
    assert code == 1
    assert json.loads(printed)["self_test"]["different"] == ["Q4_0"]
    assert "kernels and numpy differ: Q4_0" in call()[1]


def test_time_is_limited(call, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", -1)
    found = json.loads(call("--json")[1])["self_test"]
    assert found["same"] == found["different"] == []


def test_without_kernels(call, monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "none")
    code, printed = call()
    assert code == 0
    assert "none, forced by GGUFKIT_KERNELS" in printed
    assert "numpy does the work" in printed


def test_an_unknown_level_is_reported(capsys, monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "fast")
    assert main(["doctor"]) == 3
    assert "GGUFKIT_KERNELS=fast" in capsys.readouterr().err
