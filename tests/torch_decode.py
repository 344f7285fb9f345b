#!/usr/bin/env python3
"""The generation cases of `memengine bench --decode` in transformers, for the same GPU and hour.

    python3 tests/torch_decode.py [CASE] [--seconds 240] [--device cuda]

An equal Llama with random BF16 weights (FP32 on a CPU), greedy: generate() with its static cache,
which it compiles (torch.compile, CUDA graphs), and with its plain growing cache, not compiled.
Median of five after two that compile and warm up. Lines come as they are measured, the most wanted
first; what the given seconds do not suffice for is named and left out.
"""
import argparse
import signal
import statistics
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

# dim, layers, heads, hidden, vocabulary, long prompt
CASES = {"dense_373m": (1024, 24, 16, 2816, 32000, 8192), "tiny": (64, 2, 4, 192, 500, 128)}


class OutOfTime(Exception):
    pass


def out_of_time(_signal, _frame):
    raise OutOfTime


def measured(device, run):
    times = []
    for _ in range(7):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", default="dense_373m", choices=CASES)
    parser.add_argument("--seconds", type=int, default=240, help="for everything")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device = arguments.device
    dim, layers, heads, hidden, vocabulary, long_prompt = CASES[arguments.case]
    config = LlamaConfig(hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
                         intermediate_size=hidden, vocab_size=vocabulary,
                         max_position_embeddings=long_prompt + 256, tie_word_embeddings=False)
    config.eos_token_id = config.pad_token_id = None
    torch.manual_seed(1)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = LlamaForCausalLM(config).to(device, dtype).eval()
    print(f"{arguments.case}: PyTorch {torch.__version__}, transformers {transformers.__version__}",
          flush=True)

    def texts(count, cache):
        prompt = torch.randint(3, vocabulary, (count, 32), device=device)

        def generate():
            with torch.no_grad():
                made = model.generate(prompt, attention_mask=torch.ones_like(prompt),
                                      do_sample=False, cache_implementation=cache,
                                      min_new_tokens=128, max_new_tokens=128)
            assert made.shape == (count, 160), made.shape
        return count * 128 / measured(device, generate)

    def read_prompt():
        prompt = torch.randint(3, vocabulary, (1, long_prompt), device=device)

        def read():
            with torch.no_grad():
                model(prompt, use_cache=True, logits_to_keep=1)
        return long_prompt / measured(device, read)

    def label(count, cache):
        kind = "compiled static cache" if cache else "plain cache"
        return f"{count} x (prompt of 32, 128 new), {kind}"

    wanted = [(label(1, "static"), lambda: texts(1, "static")),
              (f"a prompt of {long_prompt}", read_prompt),
              (label(64, "static"), lambda: texts(64, "static")),
              (label(1, None), lambda: texts(1, None)),
              (label(64, None), lambda: texts(64, None))]
    signal.signal(signal.SIGALRM, out_of_time)
    end = time.monotonic() + arguments.seconds
    for name, run in wanted:
        left = int(end - time.monotonic())
        try:
            if left < 1:
                raise OutOfTime
            signal.alarm(left)
            rate = run()
            signal.alarm(0)
            print(f"  {name}: {rate:.0f} tokens/s", flush=True)
        except OutOfTime:
            print(f"  {name}: not measured, the {arguments.seconds} s are over", flush=True)
        except Exception as error:  # the next one may run all the same
            signal.alarm(0)
            print(f"  {name}: {type(error).__name__}: {str(error).splitlines()[:1]}", flush=True)


if __name__ == "__main__":
    main()
