"""Time per pose, from picture to pose, for one picture and for 64 at once.

`python benchmarks/inference.py [OUT.json]`: float32 on all cores, or on the GPU where there is
one. The networks are untrained: their sizes alone count. A pose costs one pass of the encoder,
one reverse step for each step of inference, and one decoding; the parts are timed in turns, and
the ratio of 64 to one is of one run. Steps are those of Algorithm 2, and where the parameters
let the tokens of which the network is most confident leave Occ first, steps of that kind too.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from machine import machine

from di2pose_lib.base.config_file import load_config
from di2pose_lib.diffusion.sampler import sample
from di2pose_lib.diffusion.training import make_denoiser, make_schedule
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from studies.step_choice import PER_POSE, RANDOM

ROOT = Path(__file__).resolve().parent.parent
STEPS = (1, 2, 4, 8, 16, 25, 50, 100)
BATCHES = (1, 64)
REVERSE_STEP = {order: f"reverse step, {order} order" for order in PER_POSE}
CASES = {  # name: parameters, turns, reverse steps that are timed
    "lesson": ("params.yaml", 5, 8),
    "paper": ("pipelines/paper.yaml", 2, 1),
}


def milliseconds(config, batch, turns, steps, where):
    """{part: median milliseconds for a whole batch}."""
    schedule = make_schedule(config).to(where)
    encoder = ImageEncoder(config.encoder, config.data.image_size).eval().to(where)
    denoiser = make_denoiser(config, encoder.feature_shape).eval().to(where)
    tokenizer = PoseTokenizer(config.tokenizer.sizes).eval().to(where)
    num_tokens = config.tokenizer.sizes.num_tokens
    images = torch.zeros(batch, 3, *config.data.image_size, dtype=torch.uint8, device=where)
    features = encoder(images)
    tokens = torch.zeros(batch, num_tokens, dtype=torch.int64, device=where)
    memory = denoiser.condition_memory(features)

    def reverse(order):
        generators = [torch.Generator().manual_seed(row) for row in range(batch)]
        sample(
            denoiser,
            schedule,
            memory,
            num_tokens,
            steps,
            generators,
            batch_size=batch,
            device=where,
            order=order,
        )

    parts = {
        "encoder": lambda: encoder(images),
        "condition": lambda: denoiser.condition_memory(features),
        "decoding": lambda: tokenizer.decode(tokens),
    }
    for order in {RANDOM, config.evaluation.step_order}:
        parts[REVERSE_STEP[order]] = lambda order=order: reverse(order)
    spent = {name: [] for name in parts}
    for turn in range(turns + 1):
        for name, part in parts.items():
            started = _now(where)
            part()
            if turn:
                spent[name].append(1e3 * (_now(where) - started))
    medians = {name: statistics.median(each) for name, each in spent.items()}
    return {
        name: ms / steps if name in REVERSE_STEP.values() else ms for name, ms in medians.items()
    }


def by_steps(parts, batch):
    """{key of the result: {steps: ms per pose}}, for each order of the tokens that was timed."""
    once = sum(ms for part, ms in parts.items() if part not in REVERSE_STEP.values())
    return {
        PER_POSE[order]: {str(count): (once + count * parts[part]) / batch for count in STEPS}
        for order, part in REVERSE_STEP.items()
        if part in parts
    }


def main():
    """Print the times, and write them where a path is given."""
    torch.manual_seed(0)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "cases": {},
    }
    for name, (params, turns, steps) in CASES.items():
        config = load_config(ROOT / params)
        result["cases"][name] = {}
        for batch in BATCHES:
            with torch.no_grad():
                parts = milliseconds(config, batch, turns, steps, where)
            result["cases"][name][str(batch)] = {
                "ms_for_the_batch": parts,
                **by_steps(parts, batch),
            }
        one, many = (result["cases"][name][str(batch)][PER_POSE[RANDOM]]["25"] for batch in BATCHES)
        result["cases"][name]["one_over_64_at_25_steps"] = one / many
        print(name, json.dumps(result["cases"][name], indent=1), flush=True)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _now(where):
    if where.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
