"""How each option of each command shows: what `test_options` runs with it and without it.

A text is what is added to the command's base; `Case` has another base. Words name files of
`tests.cli.world`.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """Words with the option, and those that they are added to."""

    words: str
    base: str


def _beside(base: str, needed: str, words: str) -> Case:
    return Case(words, f"{base} {needed}")


CONVERT = "convert Tiny -o out --ladder Q4_K_M"
MIX = "convert Tiny -o out --mix-types Q4_0,Q8_0 --budget Q5_0"
COMPARE = "compare Tiny Tiny-GGUF/Tiny-623K-Q8_0.gguf"
FIT = "fit m.gguf --ram 4G"
VERIFY = "verify Tiny-GGUF/Tiny-623K-Q8_0.gguf"
SPLIT = "split m.gguf x"
MERGE = "merge parts/m-00001-of-00003.gguf x.gguf"
EDIT = "edit m.gguf"
EXPORT = "export-hf f32.gguf back"
MMPROJ = "mmproj vision -o out"
VOCABULARY = "vocabulary Tiny -o out"
LORA = "lora adapter --base base -o x.gguf"
SENSITIVITY = "sensitivity Tiny --text text.txt -o s.json"
RECOMMEND = "recommend m.gguf --ram 4G"
RUN = "run chat.gguf -p Hi"
TRY = "try Tiny-GGUF"
PUSH = "push Tiny-GGUF some/repo"
OLLAMA = "ollama m.gguf --name tiny"

_OUTPUT = {"--dry-run": "--dry-run", "--json": "--json", "--quiet": "-q"}
_EXECUTION = {
    "--dry-run": "--dry-run",
    "--json": "--json",
    "--jobs": "-j 7",
    "--executor": "--executor processes",
    "--report": "--report report.json",
    "--quiet": "-q",
    "--push": "--push some/repo",
}

#: Command -> (what it is run with, option -> how it shows).
OPTIONS: dict[str, tuple[str, dict[str, str | Case]]] = {
    "convert": (
        CONVERT,
        {
            **_EXECUTION,
            "--out": Case("-o other", "convert Tiny --ladder Q4_0"),
            "--force": Case("--force", "convert Tiny -o taken.gguf"),
            "--ladder": Case("--ladder Q8_0", "convert Tiny -o out"),
            "--mmproj": Case("--mmproj", "convert vision -o out --dry-run"),
            "--vocab-only": Case("--vocab-only", "convert Tiny -o out"),
            "--private": _beside(CONVERT, "--push some/repo", "--private"),
            "--revision": Case("--revision other", "convert some/Tiny -o out"),
            "--stream": Case("--stream", "convert some/Tiny -o out"),
            "--cache": Case("--cache nonsense", "convert some/Tiny -o out --stream"),
            "--pre": "--pre gpt-2",
            "--no-self-test": "--no-self-test",
            "--name": "--name Other",
            "--generic": Case("--generic llama", "convert unknown -o out"),
            "--architecture": Case("--architecture mine.py", "convert unknown -o out"),
            "--merge-lora": Case("--merge-lora adapter", "convert base -o out --ladder F32"),
            "--allow-requantize": Case("--allow-requantize", "convert m.gguf -o out"),
            "--via": "--via f16",
            "--nonfinite": Case("--nonfinite zero", "convert nan -o out"),
            "--imatrix": "--imatrix im.dat",
            "--tensor-type": "--tensor-type ffn_up=Q8_0",
            "--token-embedding-type": "--token-embedding-type Q8_0",
            "--output-tensor-type": "--output-tensor-type Q8_0",
            "--leave-output-tensor": "--leave-output-tensor",
            "--pure": "--pure",
            "--search": "--search thorough",
            "--budget": Case("--budget Q5_0", "convert Tiny -o out"),
            "--bpw": Case("--bpw 7", "convert Tiny -o out"),
            "--fit-vram": Case("--fit-vram 1G", "convert Tiny -o out"),
            "--context": Case("--context 100000", "convert Tiny -o out --fit-vram 560M"),
            "--mix-types": Case("--mix-types Q4_0,Q8_0", "convert Tiny -o out --budget Q5_0"),
            "--min-bits": Case("--min-bits output=8", MIX),
            "--sensitivity": Case("--sensitivity sensitivity.json", MIX),
            "--recipe": Case("--recipe recipe.json", "convert Tiny -o out"),
            "--tensor-type-file": "--tensor-type-file types.txt",
            "--split-max-size": "--split-max-size 200K",
            "--split-max-tensors": "--split-max-tensors 4",
            "--no-tensor-first-split": _beside(
                CONVERT, "--split-max-tensors 4", "--no-tensor-first-split"
            ),
        },
    ),
    "mmproj": (
        MMPROJ,
        {
            **_EXECUTION,
            "--out": Case("-o other", "mmproj vision"),
            "--force": Case("--force", "mmproj vision -o taken.gguf"),
            "--outtype": "--outtype f32",
            "--name": "--name Other",
            "--revision": Case("--revision other", "mmproj some/vision -o out"),
            "--stream": Case("--stream", "mmproj some/vision -o out"),
            "--cache": Case("--cache nonsense", "mmproj some/vision -o out --stream"),
            "--private": _beside(MMPROJ, "--push some/repo", "--private"),
        },
    ),
    "vocabulary": (
        VOCABULARY,
        {
            "--dry-run": "--dry-run",
            "--json": "--json",
            "--push": "--push some/repo",
            "--out": Case("-o other", "vocabulary Tiny"),
            "--force": Case("--force", "vocabulary Tiny -o taken.gguf"),
            "--revision": Case("--revision other", "vocabulary some/Tiny -o out"),
            "--pre": "--pre gpt-2",
            "--no-self-test": "--no-self-test",
            "--name": "--name Other",
            "--generic": Case("--generic llama", "vocabulary unknown -o out"),
            "--architecture": Case("--architecture mine.py", "vocabulary unknown -o out"),
            "--private": _beside(VOCABULARY, "--push some/repo", "--private"),
        },
    ),
    "lora": (
        LORA,
        {
            **_EXECUTION,
            "--base": Case("--base base", "lora adapter -o x.gguf"),
            "--out": Case("-o other.gguf", "lora adapter --base base"),
            "--force": Case("--force", "lora adapter --base base -o taken.gguf"),
            "--outtype": "--outtype f16",
            "--private": _beside(LORA, "--push some/repo", "--private"),
        },
    ),
    "inspect": (
        "inspect chat.gguf",
        {
            "--tensors": "--tensors",
            "--filter": "--filter llama",
            "--chat-template": "--chat-template",
            "--vocab": "--vocab extra1",
            "--stats": "--stats",
            "--json": "--json",
            "--jobs": Case("-j 7", "inspect m.gguf --stats"),
            "--quiet": Case("-q", "inspect m.gguf --stats"),
            "--lenient": Case("--lenient", "inspect odd.gguf"),
        },
    ),
    "compare": (
        COMPARE,
        {
            "--imatrix": "--imatrix im.dat",
            "--tensors": "--tensors",
            "--html": "--html report.html",
            "--force": Case("--force", f"{COMPARE} --html taken.html"),
            "--json": "--json",
            "--jobs": "-j 7",
            "--quiet": "-q",
        },
    ),
    "diff": (
        "diff m.gguf f32.gguf",
        {"--no-data": "--no-data", "--json": "--json", "--jobs": "-j 7", "--quiet": "-q"},
    ),
    "fit": (
        FIT,
        {
            "--params": Case("--params 7B", "fit --ram 4G"),
            "--ladder": Case("--ladder Q4_0,Q8_0", "fit f32.gguf --ram 4G"),
            "--context": "--context 100",
            "--kv": _beside(FIT, "--json", "--kv q8_0"),
            "--kv-k": _beside(FIT, "--json", "--kv-k q8_0"),
            "--kv-v": _beside(FIT, "--json", "--kv-v q8_0"),
            "--vram": "--vram 1G",
            "--ram": Case("--ram 1M", "fit m.gguf --vram 4G"),
            "--parallel": "--parallel 2",
            "--ubatch": "--ubatch 8",
            "--table": "--table",
            "--json": "--json",
        },
    ),
    "hash": (
        "hash m.gguf",
        {
            "--tensors": "--tensors",
            "--xxh64": "--xxh64",
            "--check": Case("--check Tiny-GGUF/SHA256SUMS", "hash"),
            "--json": "--json",
            "--jobs": "-j 7",
            "--quiet": "-q",
        },
    ),
    "verify": (
        VERIFY,
        {
            "--manifest": "--manifest wrong-sums",
            "--source": "--source Tiny",
            "--recipe": _beside(VERIFY, "--source Tiny", "--recipe Q4_0"),
            "--imatrix": _beside(VERIFY, "--source Tiny", "--imatrix im.dat"),
            "--via": _beside(VERIFY, "--source huge", "--via f16"),
            "--revision": _beside(VERIFY, "--source some/Tiny", "--revision other"),
            "--pre": _beside(VERIFY, "--source Tiny", "--pre gpt-2"),
            "--name": _beside(VERIFY, "--source Tiny", "--name Other"),
            "--allow-requantize": _beside(VERIFY, "--source m.gguf", "--allow-requantize"),
            "--weights-only": _beside(VERIFY, "--source Tiny --name Other", "--weights-only"),
            "--json": "--json",
            "--jobs": "-j 7",
            "--quiet": "-q",
        },
    ),
    "split": (
        SPLIT,
        {
            **_OUTPUT,
            "--max-size": "--max-size 200K",
            "--max-tensors": "--max-tensors 4",
            "--no-tensor-first-split": "--no-tensor-first-split",
            "--force": Case("--force", "split f32.gguf parts/m --max-tensors 4"),
        },
    ),
    "merge": (
        MERGE,
        {
            **_OUTPUT,
            "--drop-split-keys": "--drop-split-keys",
            "--force": Case("--force", "merge parts/m-00001-of-00003.gguf taken.gguf"),
        },
    ),
    "copy": (
        "copy m.gguf x.gguf",
        {
            **_OUTPUT,
            "--alignment": "--alignment 64",
            "--force": Case("--force", "copy m.gguf taken.gguf"),
        },
    ),
    "convert-endian": (
        "convert-endian m.gguf x.gguf big",
        {**_OUTPUT, "--force": Case("--force", "convert-endian m.gguf taken.gguf big")},
    ),
    "edit": (
        EDIT,
        {
            "--out": "-o x.gguf",
            "--set": "--set general.name=Other",
            "--delete": "--delete general.name",
            "--rename": "--rename general.name=general.basename",
            "--retype": "--retype llama.block_count=u64",
            "--special-token": "--special-token bos=5",
            "--rename-tensor": "--rename-tensor output.weight=out.weight",
            "--drop-tensor": "--drop-tensor output.weight",
            "--chat-template": "--chat-template template.txt",
            "--reserve": "--reserve 1000",
            "--lenient": Case("--lenient", "edit odd.gguf"),
            "--dry-run": Case("--dry-run", f"{EDIT} --set general.name=Other"),
            "--force": Case("--force", f"{EDIT} -o taken.gguf"),
            "--json": "--json",
            "--quiet": "-q",
        },
    ),
    "check": (
        "check faulty.gguf",
        {
            "--rules": Case("--rules", "check"),
            "--no-weights": Case("--no-weights", "check nan.gguf"),
            "--severity": "--severity error",
            "--ignore": "--ignore wrong-value-type",
            "--strict": Case("--strict", "check trailing.gguf"),
            "--fix": "--fix",
            "--dry-run": Case("--dry-run", "check faulty.gguf --fix"),
            "--json": "--json",
            "--jobs": "-j 7",
            "--quiet": "-q",
        },
    ),
    "export-hf": (
        EXPORT,
        {
            **_OUTPUT,
            "--dtype": "--dtype f16",
            "--max-shard-size": "--max-shard-size 300K",
            "--lenient": Case("--lenient", "export-hf unlike.gguf back"),
            "--jobs": "-j 7",
            "--force": Case("--force", "export-hf f32.gguf Tiny"),
        },
    ),
    "sensitivity": (
        SENSITIVITY,
        {
            "--text": "--text template.txt",
            "--out": "-o other.json",
            "--probe": "--probe Q8_0",
            "--chunks": "--chunks 3",
            "--context": "--context 64",
            "--allow-requantize": Case(
                "--allow-requantize", "sensitivity m.gguf --text text.txt -o s.json"
            ),
            "--force": Case("--force", "sensitivity Tiny --text text.txt -o taken.json"),
            "--json": "--json",
            "--jobs": "-j 7",
            "--quiet": "-q",
        },
    ),
    "recommend": (
        RECOMMEND,
        {
            "--params": Case("--params 7B", "recommend --ram 4G"),
            "--ladder": Case("--ladder Q4_0,Q8_0", "recommend Tiny --ram 4G"),
            "--context": "--context 100",
            "--kv": _beside(RECOMMEND, "--json", "--kv q8_0"),
            "--vram": "--vram 1G",
            "--ram": Case("--ram 1M", "recommend m.gguf --vram 4G"),
            "--quality": Case("--quality quality.json", "recommend Tiny-GGUF --ram 4G"),
            "--json": "--json",
        },
    ),
    "run": (
        RUN,
        {
            "--prompt": "-p Ho",
            "--tokens": "-n 3",
            "--context": "-c 64",
            "--system": "--system Be.brief",
            "--raw": "--raw",
            "--json": "--json",
            "--quiet": "-q",
        },
    ),
    "try": (
        TRY,
        {
            "--prompt": "-p Ho",
            "--tokens": "-n 3",
            "--text": "--text text.txt",
            "--base": Case("--base f32.gguf", f"{TRY} --text text.txt"),
            "--chunks": Case("--chunks 3", f"{TRY} --text text.txt"),
            "--context": Case("-c 64", f"{TRY} --text text.txt"),
            "--json": "--json",
            "--quiet": Case("-q", f"{TRY} --text text.txt"),
        },
    ),
    "push": (
        PUSH,
        {
            "--private": "--private",
            "--base-model": "--base-model some/base",
            "--quality": "--quality quality.json",
            "--card": "--card card.md",
            "--no-card": "--no-card",
            "--dry-run": "--dry-run",
            "--json": "--json",
            "--quiet": "-q",
        },
    ),
    "ollama": (
        OLLAMA,
        {
            "--name": Case("--name other", "ollama m.gguf"),
            "--tag": "--tag other",
            "--system": "--system Be.brief",
            "--num-ctx": "--num-ctx 100",
            "--adapter": "--adapter a.gguf",
            "--store": "--store other",
            "--host": "--host http://127.0.0.1:9",
            "--modelfile": Case("--modelfile", "ollama m.gguf"),
            "--out": "-o files",
            "--copy": "--copy",
            "--trust-sums": Case("--trust-sums", "ollama altered/Tiny-623K-Q8_0.gguf"),
            "--dry-run": "--dry-run",
            "--force": Case("--force", "ollama m.gguf --name tiny:q8_0 --store taken-store"),
            "--json": "--json",
            "--quiet": "-q",
        },
    ),
    "types": ("types", {"--json": "--json"}),
    "architectures": ("architectures", {"--json": "--json"}),
    "doctor": ("doctor", {"--json": "--json"}),
}
