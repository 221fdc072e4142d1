"""The sampler's own time, as a share of the denoiser's.

`python benchmarks/sampler.py [OUT.json]`: float32, on the GPU where there is one, else in
processor time on one thread, which other work on the machine hardly lengthens. The networks
are untrained: their sizes alone count. Each row has its own generator and each image's keys
and values are made once, as in `PoseModel`. Every call of the denoiser is timed inside the
chain that makes it, so the share is of one process and one moment. The goal is at most 30 %
at lesson scale and 15 % at the paper's, with the default options.
"""

import json
import statistics
import sys
import time

import torch
from machine import keep, machine

from di2pose_lib.diffusion import OccludeReplaceSchedule
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.diffusion.sampler import sample

LESSON = DenoiserConfig(
    num_codes=1000,
    num_tokens=51,
    num_steps=100,
    condition_tokens=48,
    condition_width=128,
    width=128,
    layers=4,
    heads=4,
)
PAPER = DenoiserConfig(
    num_codes=4375,
    num_tokens=100,
    num_steps=100,
    condition_tokens=192,
    condition_width=768,
    width=1024,
    layers=21,
    heads=16,
)
LOGIT_SPREAD = 3.0
GOALS = {"lesson": 0.3, "paper": 0.15}
OPTIONS = {
    "default": {},
    "cosine": {"spacing": "cosine"},
    "temperature 0.8": {"temperature": 0.8},
    "truncation 0.86": {"truncation": 0.86},
    "confidence": {"order": "confidence"},
}


class Timed:
    """A denoiser that adds up the seconds that its calls take."""

    def __init__(self, denoiser, where):
        self.denoiser, self.where, self.seconds = denoiser, where, 0.0

    def __call__(self, k_s, step, condition):
        started = _now(self.where)
        logits = self.denoiser(k_s, step, condition)
        self.seconds += _now(self.where) - started
        return logits


def shares(config, images, hypotheses, calls, turns, options, where):
    """Median milliseconds a step and their share, for each of `options`, run in turns."""
    denoiser = Denoiser(config).eval().to(where)
    with torch.no_grad():
        # the spread of a trained network's logits, which the time to truncate depends on
        denoiser.head.weight *= LOGIT_SPREAD / denoiser.head.weight.norm(dim=-1).mean()
    schedule = OccludeReplaceSchedule(config.num_codes, config.num_steps)
    features = torch.randn(images, config.condition_tokens, config.condition_width).to(where)
    with torch.no_grad():
        memory = denoiser.condition_memory(features)
    rows = images * hypotheses
    known = torch.full((rows, config.num_tokens), -1)
    known[:, ::4] = 0
    if len(options) > 1:
        options = {**options, "known": {"known": known}}
    spent = {name: [] for name in options}
    for turn in range(turns + 1):
        for name, given in options.items():
            timed = Timed(denoiser, where)
            generators = [torch.Generator().manual_seed(row) for row in range(rows)]
            started = _now(where)
            sample(
                timed,
                schedule,
                memory,
                config.num_tokens,
                calls,
                generators,
                batch_size=rows,
                device=where,
                **given,
            )
            if turn:
                own = _now(where) - started - timed.seconds
                spent[name].append((timed.seconds / calls, own / calls, own / timed.seconds))
    result = {}
    for name, turns_spent in spent.items():
        denoiser_s, own_s, share = map(statistics.median, zip(*turns_spent, strict=True))
        result[name] = {
            "denoiser_ms": 1e3 * denoiser_s,
            "sampler_ms": 1e3 * own_s,
            "sampler_over_denoiser": share,
        }
    return {"rows": rows, "calls": calls, "turns": turns, "options": result}


def main():
    """Print the shares, and write them where a path is given."""
    torch.manual_seed(0)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    cases = {
        "lesson, one sample": (LESSON, 1, 1, 20, 9, OPTIONS),
        "lesson, 8 samples of one image": (LESSON, 1, 8, 10, 5, OPTIONS),
        "lesson, batch 64": (LESSON, 8, 8, 4, 3, OPTIONS),
        "paper, one sample": (PAPER, 1, 1, 2, 3, {"default": {}}),
    }
    result = {"machine": machine(), "goals": GOALS, "cases": {}}
    for name, case in cases.items():
        result["cases"][name] = shares(*case, where)
        print(name, json.dumps(result["cases"][name], indent=1), flush=True)
    keep(result, sys.argv)


def _now(where):
    if where.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    main()
