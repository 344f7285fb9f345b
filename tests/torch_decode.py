#!/usr/bin/env python3
"""The generation cases of `memengine bench --decode` in transformers, for the same GPU and hour.

    python3 tests/torch_decode.py dense_373m

An equal Llama with random BF16 weights; generate() with its static cache, which it compiles
(torch.compile, CUDA graphs), greedy; the median of five after two that compile.
"""
import statistics
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

# dim, layers, heads, hidden, vocabulary
CASES = {"dense_373m": (1024, 24, 16, 2816, 32000)}


def measured(run):
    times = []
    for _ in range(7):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main():
    for name in sys.argv[1:] or list(CASES):
        dim, layers, heads, hidden, vocabulary = CASES[name]
        config = LlamaConfig(hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
                             intermediate_size=hidden, vocab_size=vocabulary,
                             max_position_embeddings=8448, tie_word_embeddings=False)
        config.eos_token_id = config.pad_token_id = None
        torch.manual_seed(1)
        model = LlamaForCausalLM(config).to("cuda", torch.bfloat16).eval()
        for sequences in (1, 64):
            prompt = torch.randint(3, vocabulary, (sequences, 32), device="cuda")
            options = dict(attention_mask=torch.ones_like(prompt), do_sample=False,
                           cache_implementation="static")

            def generate(count):
                with torch.no_grad():
                    return model.generate(prompt, min_new_tokens=count, max_new_tokens=count,
                                          **options)

            assert generate(128).shape == (sequences, 160)
            whole = measured(lambda: generate(128))
            print(f"{name}: {sequences} texts, prompt of 32 and 128 new tokens, static cache: "
                  f"{sequences * 128 / whole:.0f} tokens/s", flush=True)
        prompt = torch.randint(3, vocabulary, (1, 8192), device="cuda")
        with torch.no_grad():
            run = lambda: model(prompt, use_cache=True, logits_to_keep=1)
            print(f"{name}: a prompt of 8192: {8192 / measured(run):.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
