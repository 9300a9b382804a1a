"""llama.cpp's pre-tokenizers: their names, their splitting rules, and known tokenizers.

A pre-tokenizer splits a text into words before byte-pair encoding. tokenizer.json describes it as
steps; llama.cpp has the rules compiled in, under the names of ``tokenizer.ggml.pre``.

`STRUCTURES` maps steps to a name with these rules (llama-vocab.cpp, ``llm_tokenizer_bpe``). Many
names share rules; the table has the first or best known model's.

`HASHES` tells those names apart. It is the converter's own table (``get_vocab_base_pre``), from the
SHA-256 of the token ids of a reference text to the name that the converter writes. It identifies a
tokenizer exactly, but only as long as its vocabulary is not changed; for others `PUBLISHED` has the
names that published models of an architecture carry.
"""

from __future__ import annotations

import json
from pathlib import Path

# Names that the loader accepts for byte-level BPE (llama_vocab::impl::load).
_BPE_NAMES = """
    a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe
    command-r dbrx deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone
    exaone-moe exaone4 f2llmv2 falcon falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o
    gpt3-finnish granite-docling granite-embed-multi-311m granite-embed-multi-97m grok-2
    hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code jina-v2-de
    jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe llama-bpe
    llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2
    modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe
    seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2 starcoder superbpe talkie tekken
    tiny_aya trillion ufakzeka viking whitespace youtu
"""
BPE_NAMES = frozenset(_BPE_NAMES.split())

# The loader ignores the name for WordPiece; these are the ones that the converter writes.
WORDPIECE_NAMES = frozenset(
    {"bert-bge", "bert-bge-large", "jina-v1-en", "jina-v2-de", "jina-v2-en"}
)

PRE_NAMES = BPE_NAMES | WORDPIECE_NAMES

# Parts of regular expressions that many families share.
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_CL100K = _CONTRACTION + _WORD + r"|\p{N}{1,3}" + _SYMBOLS
_LLAMA3 = _CL100K + _SPACES
_QWEN2 = _CONTRACTION + _WORD + r"|\p{N}" + _SYMBOLS + _SPACES
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?" + f"{_UPPER}*{_LOWER}+",
    r"[^\r\n\p{L}\p{N}]?" + f"{_UPPER}+{_LOWER}*",
)
_CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _SPACES
_TEKKEN = f"{_CASED[0]}|{_CASED[1]}" + r"|\p{N}" + _CASED_REST
_O200K_WORDS = f"{_CASED[0]}{_CONTRACTION}?|{_CASED[1]}{_CONTRACTION}?"
_O200K = _O200K_WORDS + r"|\p{N}{1,3}" + _CASED_REST
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_HAN_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_ASCII_WORD = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
)
_DEEPSEEK3 = _ASCII_WORD + r"| ?[\p{P}\p{S}]+[\r\n]*" + _SPACES
_SPARK = _ASCII_WORD + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
_EXAONE_WORD = r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
_JAIS2 = (
    _CL100K
    + r"|\s*[\r\n]+"
    + "".join(
        rf"|\s{{{n}}}(?!\S)" for n in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2")
    )
    + r"|\s{1}"
)
_LATIN = (
    r"\s?[A-Za-z"
    "µÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-"
    "ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ"
    "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
    "]+"
)
_DEEPSEEK_LLM = (r"[\r\n]", _LATIN, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CJK)

# Steps as `ggufkit.tokenizers.pre.describe` returns them. "bytes" spells text in the byte-level
# alphabet; "words" does so after splitting by GPT-2's expression.
STRUCTURES: dict[tuple[str, ...], str] = {
    ("words",): "gpt-2",
    ("digit", "words"): "starcoder",
    (_LLAMA3, "bytes"): "llama-bpe",
    (_QWEN2, "bytes"): "qwen2",
    (r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _SYMBOLS + _SPACES, "bytes"): "ufakzeka",
    (
        _QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"\s\p{L}", r"\s\p{L}\p{M}"),
        "bytes",
    ): "qwen35",
    (r"[^\n]+|[\n]+", _QWEN2, "bytes"): "laguna",
    (r"\p{N}{1,3}", _CONTRACTION + _WORD + r"|\p{N}+" + _SYMBOLS + _SPACES, "bytes"): "minicpm5",
    (_CONTRACTION + _WORD + r"|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + _SPACES, "bytes"): "seed-coder",
    (_JAIS2, "bytes"): "jais-2",
    (
        _CONTRACTION + _EXAONE_WORD + r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        "bytes",
    ): "exaone-moe",
    (_BAILING, "bytes"): "bailingmoe",
    (_TEKKEN, "bytes"): "tekken",
    (_O200K, "bytes"): "gpt-4o",
    (r"\d{1,3}(?=(?:\d{3})*\b)", _O200K, "bytes"): "tiny_aya",
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, "digit", "bytes"): "deepseek-coder",
    (*_DEEPSEEK_LLM, "digits", "bytes"): "deepseek-llm",
    (*_DEEPSEEK_LLM, "digit", "bytes"): "deepseek-llm",
    (r"\p{N}{1,3}", _HAN_KANA, _DEEPSEEK3, "bytes"): "deepseek-v3",
    (r"\p{N}{1,3}", _HAN_KANA, _SPARK, "digit", "bytes"): "spark2_5",
    (
        r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + _HAN_KANA,
        _O200K_WORDS + r"|\p{N}" + _CASED_REST,
        "bytes",
    ): "youtu",
    ("punctuation", "words", "digits", "[0-9][0-9][0-9]"): "falcon",
    (_BLOOM, "bytes"): "bloom",
    (_BLOOM, "digit", "bytes"): "viking",
    (r"\p{N}+", r"(?=(\d{3})+(?!\d))", "bytes"): "superbpe",
}

# Names with the same rules as a name in `STRUCTURES`.
SAME_RULES: dict[str, str] = {
    "gpt-2": "phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert "
    "jina-v1-en jina-v2-code roberta-bpe exaone4 mpt olmo jais trillion granite-docling",
    "starcoder": "refact command-r smollm codeshell exaone minerva-7b mellum2",
    "llama-bpe": "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5 "
    "dbrx smaug-bpe chatglm-bpe",
    "qwen2": "deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2",
    "gpt-4o": "llama4 kanana2 talkie minimax-m2",
    "deepseek-v3": "hunyuan-dense joyai-llm hy_v4",
    "bloom": "poro-chat gpt3-finnish",
    "bailingmoe": "bailingmoe2 llada-moe",
    "tiny_aya": "cohere2moe",
}

# Names that published models of an architecture carry, where a name in `STRUCTURES` has the same
# rules. Most are those of the repositories that the converter's table lists; Granite, OLMo 2 and
# Phi-4 use the tokenizers of StarCoder and GPT-4, which it calls refact and dbrx.
PUBLISHED: dict[str, str] = {
    "bailingmoe2": "bailingmoe2",
    "chatglm": "chatglm-bpe",
    "codeshell": "codeshell",
    "cohere2": "command-r",
    "cohere2moe": "cohere2moe",
    "command-r": "command-r",
    "dbrx": "dbrx",
    "deepseek": "gigachat",
    "deepseek2": "glm4 gigachat kanana2",
    "exaone": "exaone",
    "exaone4": "exaone4",
    "falcon-h1": "falcon-h1",
    "glm4": "glm4",
    "glm4moe": "glm4 solar-open",
    "granite": "refact dbrx",
    "granitehybrid": "refact dbrx",
    "granitemoe": "refact dbrx",
    "grok": "grok-2",
    "hunyuan-dense": "hunyuan-dense",
    "hunyuan-moe": "hunyuan",
    "jais": "jais",
    "lfm2": "lfm2",
    "lfm2moe": "lfm2",
    "llada-moe": "llada-moe",
    "llama": "smollm",
    "llama4": "llama4",
    "minimax-m2": "minimax-m2",
    "modern-bert": "modern-bert",
    "mpt": "mpt",
    "olmo": "olmo",
    "olmo2": "dbrx",
    "olmoe": "olmo",
    "phi2": "phi-2",
    "phi3": "dbrx",
    "refact": "refact",
    "stablelm": "stablelm2",
}

# Names for which a word that is a token is used before any merge (``ignore_merges``).
_IGNORES_MERGES = """
    llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5
    minicpm5 youtu tekken granite-embed-multi-97m
"""
IGNORES_MERGES = frozenset(_IGNORES_MERGES.split())

# Names for the same rules, if the tokenizer differs in another property that matters to llama.cpp.
WITHOUT_IGNORE_MERGES = {"llama-bpe": "smaug-bpe"}
WITH_ROBERTA_PROCESSING = {"gpt-2": "roberta-bpe"}

# SHA-256 of str(ids) of the reference text -> name. If the converter lists a hash twice, the later
# name counts, as it does there.
HASHES: dict[str, str] = json.loads(
    Path(__file__).with_name("reference_hashes.json").read_text(encoding="utf-8")
)


def steps_of(name: str) -> tuple[str, ...] | None:
    """Return llama.cpp's splitting steps for a name, or None if they are unknown."""
    same = next((known for known, names in SAME_RULES.items() if name in names.split()), name)
    return next((steps for steps, known in STRUCTURES.items() if known == same), None)
