from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ggufkit.errors import CheckpointError, MissingFileError, UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers import KINDS, tokenizer_metadata
from tests.tokenizers.build import added, byte_level, model_type, piece, template, write
from tests.tokenizers.manifest import manifest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "checkpoints"
KIND_OF = {
    "bert": "bert", "deepseek_v2": "gpt2", "falcon": "gpt2", "gemma2": "gemma2",
    "gemma3": "gemma3", "gpt2": "gpt2", "llama": "llama", "llama-deep": "llama",
    "llama-oddcols": "llama", "llama3-rope": "llama", "mistral": "llama", "mixtral": "llama",
    "phi3": "phi3", "qwen2": "qwen", "qwen3": "qwen", "qwen3_moe": "gpt2",
}  # fmt: skip

SPM = (
    piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x0A>", 0, 6)
    + piece("▁a", -1.5) + piece("defined", 0, 4) + model_type(2)
)  # fmt: skip


@pytest.mark.parametrize("pre", ["given", "found"])
@pytest.mark.parametrize("name", ["bert", "llama", "mixtral", "qwen2"])
def test_fixtures_give_what_the_converter_writes(name: str, pre: str) -> None:
    expected = json.loads((FIXTURES / name / "expected.json").read_text())
    got = tokenizer_metadata(
        FIXTURES / name,
        kind=KIND_OF[name],
        config=expected["config"],
        pre=expected["pre"] if pre == "given" else None,
    )
    assert manifest(got) == expected["kv"]


def texts_and_types(got: Metadata) -> list[tuple[str, int]]:
    return list(zip(got["tokenizer.ggml.tokens"], got["tokenizer.ggml.token_type"], strict=True))


def oracle_case(oracle: Path, name: str, pre: str | None) -> tuple[Metadata, list[dict[str, Any]]]:
    expected = oracle / "expected" / name
    config = json.loads((expected / "hparams.json").read_text())["hparams"]
    kv = json.loads((expected / "source.bf16.json").read_text())["kv"]
    got = tokenizer_metadata(
        oracle / "checkpoints" / name, kind=KIND_OF[name], config=config, pre=pre
    )
    return got, [entry for entry in kv if entry["key"].startswith("tokenizer.")]


@pytest.mark.parametrize("name", KIND_OF)
def test_every_oracle_checkpoint_gives_what_the_converter_writes(oracle: Path, name: str) -> None:
    info = json.loads((oracle / "expected" / name / "info.json").read_text())
    got, expected = oracle_case(oracle, name, info["pre"])
    assert manifest(got) == expected


@pytest.mark.parametrize("name", sorted(set(KIND_OF) - {"deepseek_v2"}))
def test_every_oracle_pre_tokenizer_is_found(oracle: Path, name: str) -> None:
    got, expected = oracle_case(oracle, name, None)
    assert manifest(got) == expected


def test_the_deepseek_oracle_was_told_another_name_than_its_steps_have(oracle: Path) -> None:
    # Its tokenizer.json has the steps of deepseek-coder (\s?\p{L}+, \s?\p{P}+), and the converter
    # was told to write deepseek-llm.
    got, expected = oracle_case(oracle, "deepseek_v2", None)
    assert got["tokenizer.ggml.pre"] == "deepseek-coder"
    assert {entry["key"] for entry in expected if entry["key"] in got} == set(got)


def test_llama_takes_the_first_tokenizer_that_is_there(tmp_path: Path) -> None:
    tokenizer = byte_level()
    fallback = byte_level(decoder={"type": "Sequence", "decoders": []})
    fallback["model"]["byte_fallback"] = True
    both = write(tmp_path / "both", tokenizer=tokenizer)
    (both.folder / "tokenizer.model").write_bytes(SPM)
    cases = {"both": "llama", "fallback": "llama", "bytes": "gpt2"}
    write(tmp_path / "fallback", tokenizer=fallback)
    write(tmp_path / "bytes", tokenizer=tokenizer)
    for name, model in cases.items():
        got = tokenizer_metadata(tmp_path / name, kind="llama", config={})
        assert got["tokenizer.ggml.model"] == model
    assert tokenizer_metadata(both.folder, kind="llama", config={})["tokenizer.ggml.tokens"] == [
        "<unk>", "<s>", "</s>", "<0x0A>", "▁a", "defined",
    ]  # fmt: skip


def test_jamba_puts_no_space_before_a_text_without_a_sentencepiece_model(tmp_path: Path) -> None:
    fallback = byte_level(decoder={"type": "Sequence", "decoders": []})
    fallback["model"]["byte_fallback"] = True
    write(tmp_path, tokenizer=fallback)
    got = tokenizer_metadata(tmp_path, kind="jamba", config={})
    assert got["tokenizer.ggml.add_space_prefix"] is False
    (tmp_path / "tokenizer.model").write_bytes(SPM)
    assert len(tokenizer_metadata(tmp_path, kind="jamba", config={})["tokenizer.ggml.tokens"]) == 6


def test_granite_4_has_a_multiple_of_8_tokens_whatever_its_config_says(tmp_path: Path) -> None:
    tokenizer = byte_level()
    n_tokens = len(tokenizer["model"]["vocab"])
    write(tmp_path, tokenizer=tokenizer)
    config = {"vocab_size": n_tokens, "pad_vocab_size_multiple": 100}
    got = tokenizer_metadata(tmp_path, kind="granite4", config=config)
    assert len(got["tokenizer.ggml.tokens"]) == -(-n_tokens // 8) * 8


def test_llada_adds_a_first_token_whatever_the_files_say(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level(), tokenizer_config={"add_bos_token": False})
    got = tokenizer_metadata(tmp_path, kind="llada", config={})
    assert got["tokenizer.ggml.add_bos_token"] is True
    other = tokenizer_metadata(tmp_path, kind="gpt2", config={})
    assert dict(got) == {**other, "tokenizer.ggml.add_bos_token": True}


@pytest.mark.parametrize("eot", ["<|eot|>", "<|end|>"])
def test_muse_glimmer_ends_a_turn_with_its_own_token(tmp_path: Path, eot: str) -> None:
    write(tmp_path, tokenizer=byte_level(added_tokens=[added(3, eot, special=True)]))
    metadata = tokenizer_metadata(tmp_path, kind="muse_glimmer", config={}, pre="llama4")
    assert metadata.get("tokenizer.ggml.eot_token_id") == (3 if eot == "<|eot|>" else None)


def test_laguna_ends_a_turn_with_the_second_of_its_eos(tmp_path: Path) -> None:
    tokens = [added(3, "</assistant>"), added(4, "</user>")]
    write(tmp_path, tokenizer=byte_level(added_tokens=tokens))
    config = {"bos_token_id": 0, "eos_token_id": [0, 3]}
    metadata = tokenizer_metadata(tmp_path, kind="laguna", config=config, pre="laguna")
    assert metadata["tokenizer.ggml.eot_token_id"] == 3
    assert metadata["tokenizer.ggml.token_type"] == [1, 1, 1, 3, 4]
    alone = tokenizer_metadata(tmp_path, kind="laguna", config={"eos_token_id": 0}, pre="laguna")
    assert "tokenizer.ggml.eot_token_id" not in alone


def test_llama_puts_the_space_prefix_first(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level(), tokenizer_config={"add_prefix_space": False})
    got = tokenizer_metadata(tmp_path, kind="llama", config={})
    assert next(iter(got)) == "tokenizer.ggml.add_space_prefix"
    assert got["tokenizer.ggml.add_space_prefix"] is False


def test_code_llama_and_granite_are_known_by_their_size(tmp_path: Path) -> None:
    write(
        tmp_path,
        tokenizer=byte_level(
            added_tokens=[added(3, "<s>", special=True)], post_processor=template("<s> A")
        ),
        tokenizer_config={"bos_token": "<s>"},
    )
    code = tokenizer_metadata(tmp_path, kind="llama", config={"vocab_size": 32016})
    assert code["tokenizer.ggml.eot_token_id"] == 32010
    assert code["tokenizer.ggml.add_bos_token"] is True
    granite = tokenizer_metadata(tmp_path, kind="llama", config={"vocab_size": 49152})
    assert granite["tokenizer.ggml.add_bos_token"] is False
    other = tokenizer_metadata(tmp_path, kind="llama", config={"vocab_size": 10})
    assert "tokenizer.ggml.eot_token_id" not in other


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3"])
def test_gemma_puts_no_space_before_a_text(tmp_path: Path, kind: str) -> None:
    write(tmp_path, tokenizer=SPM)
    got = tokenizer_metadata(tmp_path, kind=kind, config={"vocab_size": 108})
    assert got["tokenizer.ggml.add_space_prefix"] is False
    assert list(got)[-1] == "tokenizer.ggml.add_space_prefix"
    assert got.get("tokenizer.ggml.eot_token_id") == (107 if kind == "gemma" else None)


def test_spm_pads_and_places_added_tokens(tmp_path: Path) -> None:
    decoder = {
        "4": {"content": "<|x|>"},
        "6": {"content": "▁two▁words"},
        "7": {"content": "ctl", "special": True},
        "99": {"content": "out of range"},
    }
    write(
        tmp_path,
        tokenizer=SPM,
        added_tokens={"early": 5, "late": 400},
        tokenizer_config={"added_tokens_decoder": decoder},
    )
    got = tokenizer_metadata(tmp_path, kind="spm", config={"vocab_size": 9})
    tokens = zip(
        got["tokenizer.ggml.tokens"],
        got["tokenizer.ggml.scores"],
        got["tokenizer.ggml.token_type"],
        strict=True,
    )
    assert list(tokens) == [
        ("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("<0x0A>", 0.0, 6),
        ("<|x|>", -1000.0, 3), ("early", -1000.0, 4), (" two words", -1000.0, 4),
        ("ctl", -1000.0, 3), ("[PAD8]", -10000.0, 5),
    ]  # fmt: skip


def test_phi3_keeps_added_tokens_as_they_are(tmp_path: Path) -> None:
    write(
        tmp_path,
        tokenizer={"added_tokens": [added(5, "▁json"), added(6, "<|end|>", special=True)]},
        tokenizer_config={"added_tokens_decoder": {"4": {"content": "<|x|>"}}},
    )
    (tmp_path / "tokenizer.model").write_bytes(SPM)
    got = tokenizer_metadata(tmp_path, kind="phi3", config={"vocab_size": 7})
    assert got["tokenizer.ggml.tokens"][4:] == ["<|x|>", "▁json", "<|end|>"]
    assert got["tokenizer.ggml.token_type"][4:] == [4, 4, 3]
    write(
        tmp_path / "phi4",
        tokenizer=byte_level(),
        tokenizer_config={"tokenizer_class": "GPT2Tokenizer"},
    )
    got = tokenizer_metadata(tmp_path / "phi4", kind="phi3", config={})
    assert got["tokenizer.ggml.model"] == "gpt2"


def test_roberta_counts_token_types(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level(post_processor={"type": "RobertaProcessing"}))
    got = tokenizer_metadata(tmp_path, kind="roberta", config={"type_vocab_size": 2})
    assert got["tokenizer.ggml.token_type_count"] == 2
    assert got["tokenizer.ggml.pre"] == "roberta-bpe"


def test_t5_keeps_the_normalizer_of_sentencepiece(tmp_path: Path) -> None:
    from tests.tokenizers.build import message

    unigram = piece("<unk>", 0, 2) + piece("▁a", -2) + model_type(1)
    normalizer = message(3, message(2, b"\x04\x00charsmap") + b"\x18\x00" + b"\x20\x01")
    write(tmp_path, spiece=unigram + normalizer)
    got = tokenizer_metadata(tmp_path, kind="t5", config={"vocab_size": 3})
    assert got["tokenizer.ggml.model"] == "t5"
    assert got["tokenizer.ggml.tokens"] == ["<unk>", "▁a", "[PAD2]"]
    assert got["tokenizer.ggml.add_space_prefix"] is False
    assert got["tokenizer.ggml.remove_extra_whitespaces"] is True
    assert got["tokenizer.ggml.precompiled_charsmap"] == list(b"\x04\x00charsmap")


def test_unused_ids_and_added_tokens_of_byte_level_vocabularies(tmp_path: Path) -> None:
    tokens = [
        added(3, "<|im_end|>"),
        added(4, "Ġtool▁call"),
        added(5, "ĠĠ"),
        added(6, "<x>", special=True),
        added(2, "ab", normalized=True),
    ]
    write(tmp_path, tokenizer=byte_level(added_tokens=tokens))
    got = tokenizer_metadata(tmp_path, kind="gpt2", config={"vocab_size": 8})
    assert texts_and_types(got) == [
        ("a", 1), ("b", 1), ("ab", 4), ("<|im_end|>", 3), ("Ġtool▁call", 4), ("ĠĠ", 4),
        ("<x>", 3), ("[PAD7]", 5),
    ]  # fmt: skip


def test_tokens_that_only_tokenizer_config_knows(tmp_path: Path) -> None:
    config = {
        "added_tokens_decoder": {"3": added(3, "<three>"), "0": added(0, "a", special=True)},
        "eos_token": "b",
        "pad_token": {"content": "<pad>"},
        "additional_special_tokens": ["<extra>"],
    }
    for token in config["added_tokens_decoder"].values():  # type: ignore[attr-defined]
        del token["id"]
    write(tmp_path, tokenizer=byte_level(), tokenizer_config=config)
    got = tokenizer_metadata(tmp_path, kind="gpt2", config={})
    assert texts_and_types(got) == [
        ("a", 3), ("b", 3), ("ab", 1), ("<three>", 4), ("<pad>", 3), ("<extra>", 3),
    ]  # fmt: skip


def test_bert_marks_the_starts_of_words(tmp_path: Path) -> None:
    tokenizer = byte_level(
        {"[UNK]": 0, "cat": 1, "##s": 2, "[CLS]": 3},
        added_tokens=[added(0, "[UNK]", special=True), added(3, "[CLS]", special=True)],
        pre_tokenizer={"type": "BertPreTokenizer"},
        normalizer={"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
    )
    write(tmp_path, tokenizer=tokenizer)
    got = tokenizer_metadata(tmp_path, kind="bert", config={"vocab_size": 4})
    assert got["tokenizer.ggml.tokens"] == ["[UNK]", "▁cat", "s", "[CLS]"]
    assert got["tokenizer.ggml.token_type_count"] == 1
    assert got["tokenizer.ggml.normalizer.lowercase"] is False
    assert "tokenizer.ggml.normalizer.strip_accents" not in got


def test_errors_say_what_is_missing_or_wrong(tmp_path: Path) -> None:
    def fails(error: type[Exception], message: str, kind: str, **kwargs: Any) -> None:
        with pytest.raises(error, match=message):
            tokenizer_metadata(tmp_path, kind=kind, **{"config": {}, **kwargs})

    fails(UnknownTokenizerError, "neither tokenizer.json nor", "llama")
    fails(UnknownTokenizerError, r"tokenizer\.model is missing", "gemma2")
    fails(UnknownTokenizerError, "no tokenizer kind 'x'; known are llama", "x")
    fails(UnknownTokenizerError, "did you mean .*qwen2", "gpt2", pre="qwen")
    write(tmp_path, tokenizer=byte_level())
    fails(CheckpointError, "'ab' has id 2, but config.json says vocab_size 2", "gpt2",
          config={"vocab_size": 2})  # fmt: skip
    fails(CheckpointError, "expected 1..4000000", "gpt2", config={"vocab_size": 10**12})
    assert not issubclass(UnknownTokenizerError, MissingFileError)


def test_every_kind_refuses_an_empty_folder(tmp_path: Path) -> None:
    for kind in KINDS:
        with pytest.raises(UnknownTokenizerError):
            tokenizer_metadata(tmp_path, kind=kind, config={})


@pytest.mark.parametrize("name", KIND_OF)
def test_any_reads_what_the_architecture_of_these_files_reads(oracle: Path, name: str) -> None:
    """But for the keys that only the class can know."""
    info = json.loads((oracle / "expected" / name / "info.json").read_text())
    config = json.loads((oracle / "expected" / name / "hparams.json").read_text())["hparams"]
    folder = oracle / "checkpoints" / name
    own, got = (
        tokenizer_metadata(folder, kind=kind, config=config, pre=info["pre"])
        for kind in (KIND_OF[name], "any")
    )
    differ = {key for key in {*own, *got} if own.get(key) != got.get(key)}
    assert differ <= {"tokenizer.ggml.add_space_prefix"}
    assert got["tokenizer.ggml.tokens"] == own["tokenizer.ggml.tokens"]


def test_any_takes_a_unigram_model(tmp_path: Path) -> None:
    pieces = piece("<pad>", 0, 3) + piece("</s>", 0, 3) + piece("<unk>", 0, 2) + model_type(1)
    write(tmp_path, spiece=pieces)
    got = tokenizer_metadata(tmp_path, kind="any", config={"vocab_size": 3})
    assert got["tokenizer.ggml.model"] == "t5"
