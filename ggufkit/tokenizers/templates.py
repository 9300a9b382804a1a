"""Chat templates. They are stored, never rendered.

As in transformers, ``chat_template.jinja`` and the files in ``additional_chat_templates`` come
before tokenizer_config.json; ``chat_template.json``, which belongs to a multimodal model's
processor, comes last. llama.cpp's converter takes them in another order, see docs/differences.md.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.files import get
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ggufkit.tokenizers.files import TokenizerFiles

TEMPLATE_KEY = "tokenizer.chat_template"
TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
PROCESSOR_FILE = "chat_template.json"
CONFIG_FILE = "tokenizer_config.json"

_ALLOWED = frozenset(string.ascii_letters + string.digits)


def template_metadata(files: TokenizerFiles) -> Metadata:
    """Return the keys of a checkpoint's chat templates; what can't be used is noted.

    Raises
    ------
    CheckpointError
        A file is malformed.
    """
    metadata = Metadata()
    names: list[str] = []
    default = None
    for name, text in find_templates(files).items():
        if name == "default":
            default = text
            continue
        key = "".join(char if char in _ALLOWED else "_" for char in name)
        if key in names:
            files.note(f"the chat template {name!r} replaces another of the name {key!r}")
        else:
            names.append(key)
        metadata.set(f"{TEMPLATE_KEY}.{key}", text, ValueType.STRING)
    if names:
        # The converter's order is that of a Python set, which differs from run to run.
        metadata.set("tokenizer.chat_templates", names, ValueType.STRING)
    if default is not None:
        metadata.set(TEMPLATE_KEY, default, ValueType.STRING)
    return metadata


def find_templates(files: TokenizerFiles) -> dict[str, str]:
    """Return the chat templates of a checkpoint by name; the main one is called "default"."""
    in_files = dict(_template_files(files))
    given = (files.config or {}).get("chat_template")
    if in_files:
        if given is not None and given != in_files.get("default"):
            files.note(
                f"the chat template of {CONFIG_FILE} is not used: as in transformers, "
                f"{TEMPLATE_FILE} and {MORE_TEMPLATES} come first"
            )
        return dict(_usable(files, TEMPLATE_FILE, in_files.items()))
    if given is not None:
        return dict(_usable(files, CONFIG_FILE, _named(given)))
    of_processor = (files.json(PROCESSOR_FILE, 16 << 20) or {}).get("chat_template")
    return dict(_usable(files, PROCESSOR_FILE, _named(of_processor)))


def _template_files(files: TokenizerFiles) -> Iterator[tuple[str, str]]:
    main = files.text(TEMPLATE_FILE)
    if main is not None:
        yield "default", main
    for path in files.names(MORE_TEMPLATES, ".jinja"):
        yield path.rpartition("/")[2].removesuffix(".jinja"), files.text(path) or ""


def _named(given: Any) -> Iterator[tuple[Any, Any]]:
    """Yield name and text of each template: of a text, a list of entries, or an object."""
    if isinstance(given, dict):
        yield from given.items()
    elif isinstance(given, list):
        yield from ((get(entry, "name"), get(entry, "template")) for entry in given)
    elif given is not None:
        yield "default", given


def _usable(
    files: TokenizerFiles, where: str, named: Iterable[tuple[Any, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield the templates that are a text with a name, and note the others."""
    for name, text in named:
        if isinstance(name, str) and name and isinstance(text, str) and text:
            yield name, text
        elif text != "" or where == TEMPLATE_FILE:
            what = f"the chat template {name!r}" if name else "a chat template without a name"
            files.note(f"{where}: {what} is left out: {_fault(text)}")


def _fault(text: Any) -> str:
    if not isinstance(text, str):
        return f"it is {type(text).__name__}, not a text"
    return "it is empty" if not text else "it needs a name"
