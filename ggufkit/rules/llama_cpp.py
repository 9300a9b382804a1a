"""What llama.cpp requires: facts that the rules share.

Source: src/llama-arch.cpp, src/llama-model.cpp, ``load_arch_hparams`` of src/models/*.cpp and
src/llama-vocab.cpp of llama.cpp, autumn 2026. Only keys required regardless of the
model's size and options are listed.
"""

from __future__ import annotations

import json
from pathlib import Path


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARCHITECTURES = """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet
    bloom chameleon chatglm clip codeshell cogvlm cohere2 cohere2moe command-r dbrx deci
    deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 dflash dots1 dots3note dream eagle3
    ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma
    gemma-embedding gemma2 gemma3 gemma3n gemma4 gemma4-assistant glm-dsa glm4 glm4moe glm5-next
    gpt-oss gpt2 gptj gptneox granite granite_swa granitehybrid granitemoe graniteswitch grok
    grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2
    jamba jina-bert-v2 jina-bert-v3 kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe
    llama llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm minicpm3
    minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt muse-glimmer nanbeige
    nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe
    openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 plm pockettts
    qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3
    spark2_5 stablelm starcoder starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse
"""
#: The values of ``general.architecture`` that llama.cpp loads.
ARCHITECTURES = _words(_ARCHITECTURES)

#: ``LLAMA_MAX_LAYERS`` and ``LLAMA_MAX_EXPERTS``.
MAX_BLOCKS = 512
MAX_EXPERTS = 1024

#: Keys, behind the architecture's name, that every model with tensors needs.
REQUIRED_ALWAYS = ("context_length", "embedding_length", "block_count")


def _by_key(file: str) -> dict[str, frozenset[str]]:
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return {key: _words(names) for key, names in json.loads(text).items()}


#: Key behind the architecture's name -> architectures that need it too; one of several (``|``).
REQUIRED = _by_key("required_keys.json")
#: Key behind the architecture's name -> architectures that read it, and so check its type; ``*``
#: for all of them.
READ = _by_key("read_keys.json")
#: Keys that are not read where another one is present.
SUPERSEDED = {"full_attention_interval": "attention.recurrent_layers"}

#: Architectures whose attention and feed-forward blocks all look alike and have the plain tensors
#: attn_q, attn_k, ffn_up: what is derived from their hparams can be compared with the shapes.
PLAIN = _words(
    "llama qwen2 qwen3 gemma gemma2 gemma3 olmo2 starcoder2 stablelm command-r granite seed_oss"
)
#: Architectures that fall back to the token embeddings if ``output.weight`` is absent.
TIES_OUTPUT = _words(
    "llama qwen2 qwen3 olmo2 starcoder2 granite smollm3 exaone4 seed_oss phi3 stablelm"
)
#: Architectures whose embeddings are not as long, or as many, as their keys say: they draft for
#: another model, or speak.
ODD_EMBEDDINGS = _words("dflash eagle3 gemma4-assistant pockettts qwen3tts wavtokenizer-dec")
#: Architectures that refuse rope dimensions other than the head's.
WHOLE_HEAD_ROPE = _words("llama deci falcon llama-embed")
#: Architectures that generate no text: no end of turn is expected of them.
ENCODERS = _words("""
    bert clip eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llama-embed modern-bert neo-bert
    nomic-bert nomic-bert-moe pockettts t5encoder wavtokenizer-dec
    """)

#: Architectures that tell sentences apart and refuse files without the number of types.
TOKEN_TYPES = _words("bert jina-bert-v3 nomic-bert nomic-bert-moe")

#: Values of ``{arch}.rope.scaling.type``.
ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")

#: Values of ``tokenizer.ggml.model`` -> how it works.
TOKENIZERS = {
    "llama": "SPM",
    "gpt2": "BPE",
    "gemma4": "BPE",
    "hybriddna": "BPE",
    "whitespace": "BPE",
    "bert": "WPM",
    "t5": "UGM",
    "rwkv": "RWKV",
    "plamo2": "PLAMO2",
    "none": "none",
    "no_vocab": "none",
}
#: Kinds of tokenizers that put BOS first unless ``add_bos_token`` says otherwise.
ADDS_BOS = ("SPM", "WPM")
#: Pre-tokenizers that do so too.
PRE_ADDS_BOS = _words(
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken"
)

#: A model whose name contains one of the former needs the latter: llama.cpp looks them up
#: without asking whether they exist.
PHI_3_NAMES = ("phi-3", "phi3")
PHI_3_TOKENS = ("</s>", "<unk>", "<s>", "<|endoftext|>")

#: Texts of tokens at which llama.cpp stops, whatever the metadata says.
END_OF_GENERATION = _words("""
    <|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn>
    <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance>
    <eos> <turn|> <|tool_response> <｜end▁of▁sentence｜> [e~[
    """)

#: Ollama refuses longer strings, and arrays of more items.
OLLAMA_MAX_STRING = 16 << 20
OLLAMA_MAX_ITEMS = 64 << 20
