"""The tokenizer files of a checkpoint, including those from before tokenizer.json."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ggufkit.tokenizers.folder_files import FolderFiles
from ggufkit.tokenizers.legacy import read_legacy


class TokenizerFiles(FolderFiles):
    """The tokenizer files of a checkpoint folder, each read at most once; None if missing."""

    @cached_property
    def tokenizer_json_or_legacy(self) -> dict[str, Any] | None:
        """``tokenizer.json``, or its equivalent made from older files."""
        return read_legacy(self) if self.tokenizer_json is None else self.tokenizer_json
