#!/usr/bin/env python3
"""Training steps of the dense cases of `memengine bench --steps` in PyTorch, for the same GPU and hour.

    python3 tests/torch_steps.py dense_373m gpt2_124m gpt2_350m

The same model (RMSNorm, rotary attention, SwiGLU, no biases), FP32 weights with BF16 products by
autocast, scaled_dot_product_attention (FlashAttention), fused AdamW, clipping at 1, torch.compile;
random tokens; median of 20 steps after 10.
"""
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

# dim, layers, heads, hidden, vocabulary, tied, batch, length
CASES = {
    "dense_373m": (1024, 24, 16, 2816, 32000, False, 4, 4096),
    "gpt2_124m": (768, 12, 12, 2048, 50304, True, 32, 1024),
    "gpt2_350m": (1024, 24, 16, 2816, 50304, True, 16, 1024),
    "dense_recipe": (256, 8, 8, 768, 32000, False, 32, 512),
}


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.ffn_norm = nn.RMSNorm(dim, 1e-5), nn.RMSNorm(dim, 1e-5)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x, cosine, sine):
        batch, length, dim = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, -1).unbind(2)
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        attended = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, dim))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cosine, sine):
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1)
    return turned.flatten(-2).type_as(x)


class Llama(nn.Module):
    def __init__(self, dim, layers, heads, hidden, vocabulary, tied, length):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(dim, 1e-5), nn.Linear(dim, vocabulary, bias=False)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        if tied:
            self.head.weight = self.embedding.weight
        size = dim // heads
        angle = torch.outer(torch.arange(length).float(),
                            1e4 ** (-torch.arange(0, size, 2).float() / size))
        self.register_buffer("cosine", angle.cos()[:, None])
        self.register_buffer("sine", angle.sin()[:, None])

    def forward(self, tokens, targets):
        x = self.embedding(tokens).bfloat16()
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), targets.flatten())


def measure(name):
    dim, layers, heads, hidden, vocabulary, tied, batch, length = CASES[name]
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = Llama(dim, layers, heads, hidden, vocabulary, tied, length).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, (0.9, 0.95), weight_decay=0.1, fused=True)
    compiled = torch.compile(model)
    ms = []
    for _ in range(30):
        tokens = torch.randint(vocabulary, (batch, length + 1), device="cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        ms.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(ms[10:])
    print(f"{name:14s} {median:8.3f} ms {1e3 * batch * length / median:9.0f} tokens/s  "
          f"loss {loss.item():.3f}, {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB", flush=True)


for case in sys.argv[1:] or CASES:
    measure(case)
