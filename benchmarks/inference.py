"""Time per pose, from picture to pose, for one picture and for 64 at once.

`python benchmarks/inference.py [OUT.json]`: float32 on all cores, or on the GPU where there is
one. The networks are untrained: their sizes alone count. A pose costs one pass of the encoder,
one reverse step for each step of inference, and one decoding; the three are timed in turns,
and the ratio of 64 to one is of one run. At the paper's sizes the encoder is left out: it is
ViTPose-B, whose weights come from outside.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from sampler import LESSON, PAPER

from di2pose_lib.config_file import load_config
from di2pose_lib.denoiser import Denoiser
from di2pose_lib.encoder import ImageEncoder
from di2pose_lib.sampler import sample
from di2pose_lib.tokenizer import PoseTokenizer
from di2pose_lib.transitions import OccludeReplaceSchedule

ROOT = Path(__file__).resolve().parent.parent
STEPS = (1, 2, 4, 8, 16, 25, 50, 100)
CASES = {  # name: parameters, denoiser, batches, turns, reverse steps that are timed
    "lesson": ("params.yaml", LESSON, (1, 64), 5, 8),
    "paper": ("pipelines/paper/params.yaml", PAPER, (1, 64), 2, 1),
}


def milliseconds(config, sizes, batch, turns, steps, where):
    """{part: median milliseconds for a whole batch}."""
    schedule = OccludeReplaceSchedule(sizes.num_codes, sizes.num_steps).to(where)
    denoiser = Denoiser(sizes).eval().to(where)
    tokenizer = PoseTokenizer(config.tokenizer.sizes).eval().to(where)
    images = torch.zeros(batch, 3, *config.data.image_size, dtype=torch.uint8, device=where)
    features = torch.randn(batch, sizes.condition_tokens, sizes.condition_width, device=where)
    tokens = torch.zeros(batch, sizes.num_tokens, dtype=torch.int64, device=where)
    memory = denoiser.condition_memory(features)

    def reverse():
        generators = [torch.Generator().manual_seed(row) for row in range(batch)]
        sample(
            denoiser,
            schedule,
            memory,
            sizes.num_tokens,
            steps,
            generators,
            batch_size=batch,
            device=where,
        )

    parts = {
        "condition": lambda: denoiser.condition_memory(features),
        "reverse step": reverse,
        "decoding": lambda: tokenizer.decode(tokens),
    }
    if config.encoder.backbone == "small":
        encoder = ImageEncoder(config.encoder, config.data.image_size).eval().to(where)
        parts["encoder"] = lambda: encoder(images)
    spent = {name: [] for name in parts}
    for turn in range(turns + 1):
        for name, part in parts.items():
            started = _now(where)
            part()
            if turn:
                spent[name].append(1e3 * (_now(where) - started))
    medians = {name: statistics.median(each) for name, each in spent.items()}
    medians["reverse step"] /= steps
    return medians


def main():
    """Print the times, and write them where a path is given."""
    torch.manual_seed(0)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "cases": {},
    }
    for name, (params, sizes, batches, turns, steps) in CASES.items():
        config = load_config(ROOT / params)
        result["cases"][name] = {}
        for batch in batches:
            with torch.no_grad():
                parts = milliseconds(config, sizes, batch, turns, steps, where)
            once = sum(ms for part, ms in parts.items() if part != "reverse step")
            result["cases"][name][str(batch)] = {
                "ms_for_the_batch": parts,
                "ms_per_pose_by_steps": {
                    str(count): (once + count * parts["reverse step"]) / batch for count in STEPS
                },
            }
        one, many = (
            result["cases"][name][str(batch)]["ms_per_pose_by_steps"]["25"] for batch in batches
        )
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
