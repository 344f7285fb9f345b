"""A checkpoint of PyTorch's distributed checkpointing (Meta Lingua's) as a model memengine reads.

    python dcp_to_safetensors.py CHECKPOINT OUT [--tokenizer FILE]

CHECKPOINT is the folder with .metadata and the .distcp files; params.json beside them is the run's
config. OUT gets model.safetensors (FP32, the reference's names), config.yaml and the tokenizer.
Needs PyTorch alone, reads one tensor at a time, and runs on one machine without a process group.
"""
import argparse
import json
import pathlib
import shutil
import struct
import warnings

import torch
import torch.distributed.checkpoint as dcp

warnings.filterwarnings("ignore", message="torch.distributed is ")  # one process is enough
parser = argparse.ArgumentParser()
parser.add_argument("checkpoint", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--tokenizer", type=pathlib.Path, help="else what params.json names")
parser.add_argument("--prefix", default="model.", help="of the weights' names (default: model.)")
arguments = parser.parse_args()

entries = dcp.FileSystemReader(arguments.checkpoint).read_metadata().state_dict_metadata
weights = {
    name.removeprefix(arguments.prefix): (name, entry)
    for name, entry in sorted(entries.items())
    if name.startswith(arguments.prefix) and hasattr(entry, "size")
}
if not weights:
    parser.error(f"no tensors named {arguments.prefix}* in {arguments.checkpoint}; there are: "
                 + ", ".join(sorted(entries)[:5]) + " ...")

config = json.loads((arguments.checkpoint / "params.json").read_text())
memory = config.get("model", {}).get("productkey_args") or {}
if memory.get("is_enabled") and memory.get("mem_share_values", True):
    # All memory layers show the one table that they share; it is kept under the first one's name.
    tables = [name for name in weights if ".feed_forward.values" in name]
    layer = lambda name: int(name.split(".")[1])
    for name in tables:
        if layer(name) != min(map(layer, tables)):
            del weights[name]

header, offset = {}, 0
for name, (_, entry) in weights.items():
    size = 4 * entry.size.numel()
    header[name] = {"dtype": "F32", "shape": list(entry.size), "data_offsets": [offset, offset + size]}
    offset += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)

arguments.out.mkdir(parents=True, exist_ok=True)
with open(arguments.out / "model.safetensors.part", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for name, (stored, entry) in weights.items():
        tensor = {stored: torch.empty(entry.size, dtype=entry.properties.dtype)}
        dcp.load(tensor, checkpoint_id=arguments.checkpoint, no_dist=True)
        file.write(tensor[stored].float().contiguous().numpy().tobytes())

model = config.setdefault("model", {})
if model.get("vocab_size", -1) < 1:
    model["vocab_size"] = weights["tok_embeddings.weight"][1].size[0]
tokenizer = config.get("data", {}).get("tokenizer") or {}
file = arguments.tokenizer or pathlib.Path(tokenizer.get("path") or "")
if file.is_file():
    names = {"hf": "tokenizer.json"}
    tokenizer["path"] = names.get(tokenizer.get("name"), "tokenizer.model")
    shutil.copy(file, arguments.out / tokenizer["path"])
(arguments.out / "config.yaml").write_text(json.dumps(config, indent=2) + "\n")
(arguments.out / "model.safetensors.part").rename(arguments.out / "model.safetensors")
print(f"{len(weights)} tensors, {offset / 2**20:.1f} MiB -> {arguments.out}")
