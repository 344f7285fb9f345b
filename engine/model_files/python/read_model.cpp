// The text of the file; docs/tokenizers_and_models.md shows its use.
#include "engine/model_files/python/read_model.h"

namespace memengine {

std::string_view python_reader() {
  return R"py("""This folder's model with NumPy alone: how every tensor of it is used, in the order of the data.

    python read_model.py 1 17 42        the likeliest tokens after these ids
    from read_model import Model; Model(folder).logits([1, 17, 42])     # [tokens, vocabulary]

Written to be read, not to be fast. Every projection is y = W x + b with W [outputs, inputs]; rotary
pairs are neighbours (2i, 2i + 1). One text at a time, without a cache.
"""
import json
import math
import pathlib
import sys

import numpy as np


def read_safetensors(path):
    """The tensors of one file, mapped, and its metadata. F32 alone."""
    size = int.from_bytes(open(path, "rb").read(8), "little")
    data = np.memmap(path, np.uint8, "r")
    header = json.loads(bytes(data[8:8 + size]))
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = data[begin:end].view(np.float32).reshape(entry["shape"])
    return tensors, metadata


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


class Model:
    def __init__(self, folder="."):
        self.weights, self.config = read_safetensors(pathlib.Path(folder) / "model.safetensors")
        number = lambda key: self.option(key, float)
        dim = int(number("dim"))
        heads = self.option("n_heads", int) or dim // self.option("head_dim", int)
        self.heads, self.kv_heads = heads, self.option("n_kv_heads", int) or heads
        self.head_dim = self.option("head_dim", int) or dim // heads
        self.epsilon, self.window = number("norm_eps"), self.option("sliding_window", int)
        self.layers = int(number("n_layers"))
        memory = "productkey_args."
        self.memory = {}
        if self.option(memory + "is_enabled", str) == "true":
            layers = sorted(int(l) for l in self.option(memory + "layers", str).split(","))
            shared = self.option(memory + "mem_share_values", str) == "true"
            self.memory = {layer: layers[0] if shared else layer for layer in layers}  # its table's
            self.knn = self.option(memory + "mem_knn", int)
            self.memory_heads = self.option(memory + "mem_heads", int)

    def option(self, key, kind):
        text = self.config.get("model." + key, "null").strip('"')
        return None if text == "null" else kind(text)

    def linear(self, name, x):
        y = x @ self.weights[name + ".weight"].T
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def rms_norm(self, name, x):
        scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon)
        return x * scale * self.weights[name + ".weight"]

    def frequencies(self):
        """The angle by which each pair turns from one position to the next."""
        number = lambda key: self.option(key, float)
        pairs = np.arange(0, self.head_dim, 2)
        frequency = number("rope_theta") ** (-pairs / self.head_dim)
        kind, factor = self.option("rope_scaling.type", str), number("rope_scaling.factor")
        if kind == "linear":
            return frequency / factor
        if kind != "llama3":
            return frequency
        low, high = number("rope_scaling.low_freq_factor"), number("rope_scaling.high_freq_factor")
        turns = number("rope_scaling.original_max_position_embeddings") * frequency / (2 * np.pi)
        share = np.clip((turns - low) / (high - low), 0, 1)
        return (1 - share) * frequency / factor + share * frequency

    def rotate(self, x):  # [tokens, heads, head_dim]
        angle = np.arange(len(x))[:, None, None] * self.frequencies()
        even, odd, turned = x[..., 0::2], x[..., 1::2], np.empty_like(x)
        turned[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
        turned[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
        return turned

    def attention(self, name, x):
        tokens = len(x)
        q, k, v = (self.linear(name + part, x).reshape(tokens, -1, self.head_dim)
                   for part in ("wq", "wk", "wv"))
        if name + "q_norm.weight" in self.weights:
            q, k = self.rms_norm(name + "q_norm", q), self.rms_norm(name + "k_norm", k)
        q, k = self.rotate(q), self.rotate(k)
        k, v = (np.repeat(part, self.heads // self.kv_heads, axis=1) for part in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(self.head_dim)
        distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
        seen = (distance >= 0) & (distance < (self.window or tokens))
        attended = np.einsum("hqk,khd->qhd", softmax(np.where(seen, scores, -np.inf)), v)
        return self.linear(name + "wo", attended.reshape(tokens, -1))

    def feed_forward(self, name, x):
        return self.linear(name + "w2", silu(self.linear(name + "w1", x)) * self.linear(name + "w3", x))

    def query(self, name, x):
        query = self.linear(name + "query_proj.query_mlps.0", x)
        norm = name + "query_proj.query_mlps.1."
        if norm + "running_mean" in self.weights:  # batch norm, with what training has averaged
            query = query - self.weights[norm + "running_mean"]
            query = query / np.sqrt(self.weights[norm + "running_var"] + 1e-5)
        elif norm + "weight" in self.weights:  # layer norm of each head
            heads = query.reshape(len(x), self.memory_heads, -1)
            heads = heads - heads.mean(-1, keepdims=True)
            heads = heads / np.sqrt((heads * heads).mean(-1, keepdims=True) + 1e-5)
            query = heads.reshape(query.shape)
        if norm + "weight" in self.weights:
            query = query * self.weights[norm + "weight"] + self.weights[norm + "bias"]
        return query.reshape(len(x), self.memory_heads, 2, -1)  # both halves

    def look_up(self, name, x):
        """The knn best rows of each head and the softmax of their scores, [tokens, heads, knn]."""
        keys = self.weights[name + "keys"].reshape(self.memory_heads, 2, -1, 1)
        query = self.query(name, x)
        keys = keys.reshape(self.memory_heads, 2, -1, query.shape[-1])  # [heads, half, n, k_dim / 2]
        scores = np.einsum("thsd,hsnd->thsn", query, keys)
        best = np.argsort(-scores, axis=-1, kind="stable")[..., :self.knn]
        scores = np.take_along_axis(scores, best, -1)
        pairs = scores[:, :, 0, :, None] + scores[:, :, 1, None, :]
        rows = best[:, :, 0, :, None] * keys.shape[2] + best[:, :, 1, None, :]
        pairs, rows = (a.reshape(len(x), self.memory_heads, -1) for a in (pairs, rows))
        chosen = np.argsort(-pairs, axis=-1, kind="stable")[..., :self.knn]
        return (np.take_along_axis(rows, chosen, -1),
                softmax(np.take_along_axis(pairs, chosen, -1)))

    def memory_layer(self, name, table, x):
        rows, weights = self.look_up(name, x)
        rows, weights = rows.reshape(len(x), -1), weights.reshape(len(x), -1)
        if table + "values_u.weight" in self.weights:  # PEER: each row is an expert of one neuron
            activation = np.einsum("td,tkd->tk", x, self.weights[table + "values_u.weight"][rows])
            weights, values = weights * gelu(activation), self.weights[table + "values_v.weight"]
        else:
            values = self.weights[table + "values.weight"]
        out = np.einsum("tk,tkd->td", weights, values[rows])
        if name + "swilu_projection.weight" in self.weights:
            out = out * silu(self.linear(name + "swilu_projection", x))
        if name + "value_proj.weight" in self.weights:
            out = self.linear(name + "value_proj", out)
        if name + "gating.weight" in self.weights:
            out = out * sigmoid(self.linear(name + "gating", x))
        return out

    def logits(self, tokens):
        x = self.weights["tok_embeddings.weight"][np.asarray(tokens)].astype(np.float64)
        for layer in range(self.layers):
            name = f"layers.{layer}."
            x = x + self.attention(name + "attention.", self.rms_norm(name + "attention_norm", x))
            normed = self.rms_norm(name + "ffn_norm", x)
            if name + "feed_forward.w1.weight" in self.weights:
                x = x + self.feed_forward(name + "feed_forward.", normed)
            if layer in self.memory:
                table = f"layers.{self.memory[layer]}.feed_forward."
                x = x + self.memory_layer(name + "feed_forward.", table, normed)
        output = "output" if "output.weight" in self.weights else "tok_embeddings"
        return self.linear(output, self.rms_norm("norm", x))


if __name__ == "__main__":
    ids = [int(word) for word in sys.argv[1:]] or [0]
    last = Model(pathlib.Path(__file__).parent).logits(ids)[-1]
    for token in np.argsort(-last)[:5]:
        print(f"{token:8d}  {softmax(last)[token]:.4f}")
)py";
}

}  // namespace memengine
