"""The store: byte for byte what Ollama itself writes, nothing half, nothing of others replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import BadValueError, GGUFKitError, OutputError
from ggufkit.publish.ollama.blobs import Blob, put_blob
from ggufkit.publish.ollama.model import OllamaModel, ollama_model
from ggufkit.publish.ollama.names import ModelName, blob_path
from ggufkit.publish.ollama.plan import plan_ollama
from ggufkit.publish.ollama.store import MODEL, config_json, go_json, import_model, manifest_json
from ggufkit.publish.ollama.template import GoTemplate
from ggufkit.toolbox.split import split
from tests.llama import write_llama

ROOT = Path(__file__).resolve().parents[2]
NAME = ModelName.parse("tiny:q8_0")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ollama")
    source = write_llama(folder / "Tiny")
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (source / "chat_template.jinja").write_text(CHATML)
    convert(source, folder / "out", ladder="Q4_K_M,Q8_0,F16")
    return folder / "out"


@pytest.fixture
def copy(ladder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ladder, tmp_path / "ladder"))


def run(*arguments: object) -> int:
    return main(["ollama", *map(str, arguments), "-q"])


def manifest_of(store: Path, name: str) -> dict:
    path = store / "manifests" / "registry.ollama.ai" / "library" / name.replace(":", "/")
    return json.loads(path.read_text())


def test_the_published_llama_3_2_comes_out_with_the_published_digests() -> None:
    # ollama.com/library/llama3.2: its manifest and config are what `ollama list` shows as
    # a80c4f17acd5, and the stop texts are its last layer.
    kinds = ("model", "template", "license", "license", "params")
    sizes = (2019377376, 1429, 7711, 6016, 96)
    digests = (
        "dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff",
        "966de95ca8a62200913e3f8bfbf84c8494536f1b94b49166851e76644e966396",
        "fcc5a6bec9daf9b561a68827b67ab6088e1dba9d1fa2a50d7bbcc8384e0a265d",
        "a70ff7e570d97baaf4e62ac6e6ad9975e04caa6d900d3742d37698494479e0cd",
        "56bb8bd477a519ffa694fc449c2413c6f0e1d3b1c88fa7e3c9d88d3ae49d4dcb",
    )
    layers = [
        Blob(f"application/vnd.ollama.image.{kind}", f"sha256:{digest}", size, b"")
        for kind, size, digest in zip(kinds, sizes, digests, strict=True)
    ]
    stops = {"stop": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}
    assert hashlib.sha256(go_json(stops)).hexdigest() == digests[-1]
    model = OllamaModel(
        Path("m"), 1, "Q4_K_M", "llama", 3_212_749_888, GoTemplate(), {}, "", (), None, ()
    )
    config = Blob.of_bytes(
        "application/vnd.docker.container.image.v1+json", config_json(model, layers)
    )
    assert config.n_bytes == 561
    assert config.digest == (
        "sha256:34bb5ab01051a11372a91f95f3fbbc51173eed8e7f13ec395b9ae9b8bd0e242b"
    )
    manifest = manifest_json(config, layers).rstrip(b"\n")  # the registry has no line end
    assert hashlib.sha256(manifest).hexdigest() == (
        "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"
    )


def test_a_whole_ladder_is_in_the_store_under_its_tags(copy: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert run(copy, "--store", store) == 0
    folder = store / "manifests" / "registry.ollama.ai" / "library" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"f16", "q8_0", "q4_k_m", "latest"}
    assert (folder / "latest").read_bytes() == (folder / "q4_k_m").read_bytes()
    for path in (store / "blobs").iterdir():
        assert path.name == f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}"
    for tag, file_type in (("q8_0", "Q8_0"), ("f16", "F16")):
        manifest = manifest_of(store, f"tiny:{tag}")
        kinds = [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]]
        assert kinds == ["model", "template", "license", "params"]
        for part in (manifest["config"], *manifest["layers"]):
            assert blob_path(store, part["digest"]).stat().st_size == part["size"]
        config = json.loads(blob_path(store, manifest["config"]["digest"]).read_text())
        assert config["file_type"] == file_type
        assert config["model_families"] == ["llama"]
        weights = blob_path(store, manifest["layers"][0]["digest"])
        (source,) = copy.glob(f"*{file_type}.gguf")
        assert weights.samefile(source)  # no second copy
    params = blob_path(store, manifest_of(store, "tiny:latest")["layers"][3]["digest"])
    assert params.read_bytes().startswith(b'{"stop":["')


def test_again_is_nothing_and_another_model_needs_force(copy: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert run(f"{copy}:Q8_0", "--store", store) == 0
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert run(f"{copy}:Q8_0", "--store", store) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run(f"{copy}:Q8_0", "--store", store, "--system", "Be brief.") == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run(f"{copy}:Q8_0", "--store", store, "--system", "Be brief.", "--force") == 0
    system = manifest_of(store, "tiny:q8_0")["layers"][2]
    assert blob_path(store, system["digest"]).read_text() == "Be brief."


def test_a_name_in_other_letters_is_the_same_name(copy: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "store" / "manifests" / "registry.ollama.ai" / "library" / "Tiny" / "Q8_0"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    assert run(f"{copy}:Q8_0", "--store", tmp_path / "store") == 3
    assert theirs.read_text() == "{}"
    assert run(f"{copy}:Q8_0", "--store", tmp_path / "store", "--force") == 0
    assert json.loads(theirs.read_text())["schemaVersion"] == 2
    assert [path.name for path in theirs.parent.parent.iterdir()] == ["Tiny"]


@pytest.mark.parametrize("place", [("manifests-v2", "ollama.com"), ("manifests", "ollama.com")])
def test_a_name_is_taken_wherever_ollama_looks(
    copy: Path, tmp_path: Path, place: tuple[str, str]
) -> None:
    theirs = tmp_path.joinpath(*place, *NAME.parts[1:])
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to("../../../../blobs/theirs")  # as newer versions have it; dangling
    model = ollama_model(next(copy.glob("*Q8_0.gguf")))
    with pytest.raises(OutputError, match="another model"):
        import_model(tmp_path, model, [NAME])
    import_model(tmp_path, model, [NAME], force=True)
    ours = tmp_path.joinpath("manifests", *NAME.parts)
    found = [path for path in (theirs, ours) if path.is_file() and not path.is_symlink()]
    assert len(found) == 1  # Ollama finds this one, and no other
    assert not theirs.is_symlink()


def test_nothing_is_seen_before_all_of_it_is_there(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ollama_model(next(copy.glob("*Q8_0.gguf")))
    real, failed = os.fsync, 0
    for survive in range(40):
        left = survive

        def fail(fd: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
            real(fd)

        store = tmp_path / f"store{survive}"
        monkeypatch.setattr(os, "fsync", fail)
        try:
            import_model(store, model, [NAME], copy=True)
        except OutputError:
            failed += 1
            assert not store.joinpath("manifests", *NAME.parts).exists()
            for path in store.rglob("sha256-*"):
                assert path.name == f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}"
            assert not [p for p in store.rglob("*") if p.suffix == ".partial"]
            assert not list(store.rglob("manifest-*"))
            continue
        break
    assert failed > 5
    monkeypatch.undo()
    assert store.joinpath("manifests", *NAME.parts).is_file()


def test_sums_are_checked_or_trusted(copy: Path, tmp_path: Path) -> None:
    path = next(copy.glob("*Q8_0.gguf"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadValueError, match="it was changed"):
        Blob.of_file(MODEL, path)
    assert Blob.of_file(MODEL, path, trust_sums=True).digest == f"sha256:{digest}"
    (copy / "ladder.json").unlink()  # SHA256SUMS alone will do
    with pytest.raises(BadValueError, match="it was changed"):
        Blob.of_file(MODEL, path)
    path.write_bytes(bytes(data) + b"x")
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(BadValueError, match="has its checksum"):
        Blob.of_file(MODEL, path, trust_sums=True)
    assert Blob.of_file(MODEL, path).n_bytes == len(data) + 1


@pytest.mark.parametrize("text", [
    '{"files": {"NAME": 7}}', '{"files": {"NAME": {"sha256": 5}}}', "[]", "{",
    '{"files": {"NAME": {"sha256": "../../x"}}}', '{"files": {"NAME": {"bytes": "many"}}}',
])  # fmt: skip
def test_a_hostile_record_is_an_error_or_nothing(text: str, copy: Path) -> None:
    path = next(copy.glob("*Q8_0.gguf"))
    (copy / "SHA256SUMS").unlink()
    (copy / "ladder.json").write_text(text.replace("NAME", path.name))
    try:
        found = Blob.of_file(MODEL, path)
    except GGUFKitError:
        return
    assert found.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_file_that_changes_meanwhile_is_not_imported(copy: Path, tmp_path: Path) -> None:
    path = next(copy.glob("*Q8_0.gguf"))
    blob = Blob.of_file(MODEL, path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(OutputError, match="changed while"):
        put_blob(tmp_path, blob)
    assert not list((tmp_path / "blobs").iterdir())


def test_how_a_file_gets_there(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(copy.glob("*Q8_0.gguf"))
    blob = Blob.of_file(MODEL, path)
    final = blob_path(tmp_path / "a", blob.digest)
    assert put_blob(tmp_path / "a", blob) == "linked"
    assert put_blob(tmp_path / "a", blob) == "there"
    assert put_blob(tmp_path / "b", blob, copy=True) == "copied"
    assert not blob_path(tmp_path / "b", blob.digest).samefile(path)
    final.unlink()
    final.write_bytes(b"half")  # what was left of something
    assert put_blob(tmp_path / "a", blob) == "linked"

    def no_links(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    assert put_blob(tmp_path / "c", blob) in ("copied", "cloned")
    assert blob_path(tmp_path / "c", blob.digest).read_bytes() == path.read_bytes()
    link = tmp_path / "link.gguf"  # as in the Hub's cache
    link.symlink_to(path)
    monkeypatch.undo()
    assert put_blob(tmp_path / "d", Blob.of_file(MODEL, link)) == "linked"
    assert not blob_path(tmp_path / "d", blob.digest).is_symlink()


def test_names_and_tags_are_chosen(copy: Path) -> None:
    entries = plan_ollama(str(copy), name="me/own")
    assert [[str(name) for name in entry.names] for entry in entries] == [
        ["me/own:f16"], ["me/own:q8_0"], ["me/own:q4_k_m", "me/own:latest"],
    ]  # fmt: skip
    (one,) = plan_ollama(f"{copy}:F16", name="x:y")
    (other,) = plan_ollama(f"{copy}:F16", name="x")
    assert [str(name) for entry in (one, other) for name in entry.names] == ["x:y", "x:f16"]
    for wrong in ({"tag": "t"}, {"name": "x:y"}, {"name": "../x"}, {"name": "x", "tag": "a/b"}):
        with pytest.raises(GGUFKitError):
            plan_ollama(str(copy), **wrong)
    shutil.copy(next(copy.glob("*F16.gguf")), copy / "again-F16.gguf")
    with pytest.raises(OutputError, match="one at a time"):
        plan_ollama(str(copy))


def test_a_split_is_refused_with_advice(copy: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    split(next(copy.glob("*F16.gguf")), parts / "model", max_tensors=8)
    with pytest.raises(OutputError, match="ggufkit merge"):
        plan_ollama(str(parts))


def test_the_command_prints_and_writes_modelfiles(copy: Path, tmp_path: Path) -> None:
    def cli(*arguments: object) -> subprocess.CompletedProcess:
        code = "import sys; from ggufkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "ollama", *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    shown = cli(f"{copy}:Q8_0", "--modelfile").stdout
    assert shown.startswith("FROM ./")
    assert cli(f"{copy}:Q8_0", "-o", copy).returncode == 0
    assert (copy / "Modelfile").read_text() == shown
    dry = cli(copy, "--store", tmp_path / "none", "--dry-run", "--json")
    assert [entry["done"] for entry in json.loads(dry.stdout)] == ["new", "new", "new"]
    assert not (tmp_path / "none").exists()
    assert json.loads(dry.stdout)[0]["family"] == "chatml"


@pytest.mark.skipif(shutil.which("ollama") is None, reason="no program 'ollama' on the PATH")
def test_ollama_itself_takes_it(copy: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert run(copy, "--store", store) == 0
    env = {**os.environ, "OLLAMA_MODELS": str(store), "OLLAMA_HOST": "127.0.0.1:21434"}
    server = subprocess.Popen(["ollama", "serve"], env=env, stderr=subprocess.DEVNULL)

    def ollama(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(["ollama", *command], env=env, capture_output=True, text=True)

    try:
        while ollama("list").returncode and server.poll() is None:
            time.sleep(0.5)
        assert "tiny:latest" in ollama("list").stdout
        assert "Q8_0" in ollama("show", "tiny:q8_0").stdout
        assert ollama("run", "tiny:q8_0", "Hi").returncode == 0
    finally:
        server.terminate()
        server.wait(20)
