"""Time of AdvOcc at scale lesson, soft decoding: from coarse to fine, and on the full grid.

    python benchmarks/advocc.py [OUT.json] [--images 12]

float32 on all cores, or on the GPU where there is one; draws as in `protocol_runs`. Both searches
attack the same images, one right after the other, so that other work on the machine disturbs both
alike: their ratio is of one process and one hour. The networks and test images are those of the
finished lesson pipeline, where there is one. Else the networks are untrained and the images are
standing people: a pass takes the same time, but where the coarse search looks again depends on the
errors. The minutes for as many images as the protocol attacks are extrapolated from these few.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from machine import machine
from renderer import turned_people

from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.devices import default_device
from di2pose_lib.base.project import finished_pipeline
from di2pose_lib.data import camera
from di2pose_lib.data.appearance import sample_appearance
from di2pose_lib.data.render import render
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.data.textures import open_textures
from di2pose_lib.diffusion.training import make_denoiser, make_schedule
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.evaluation.advocc import Attack, Target, target
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE, FULL, SEARCHES
from di2pose_lib.evaluation.estimators import SOFT, PoseModel
from di2pose_lib.evaluation.models import ImageModel
from di2pose_lib.evaluation.patch_grid import patch_grid
from di2pose_lib.evaluation.pictures import spread_rows
from di2pose_lib.evaluation.stage import pose_model
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from studies.protocol_runs import ATTACKED, DRAWS, FRESH_DRAWS

ROOT = Path(__file__).resolve().parent.parent
PARAMS = "params.yaml"
PATCHES = (40, 80)
GOAL_MINUTES = 15  # for both patches on two cores, coarse to fine


def trained(pipeline, count):
    """(soft decoding of a finished pipeline, `Target`s evenly spaced over its test images)."""
    encoder = trained_encoder(pipeline).model
    model = ImageModel(encoder, pose_model(pipeline), SOFT)
    test = prepared_data(pipeline)["test"]
    return model, [target(test, row) for row in spread_rows(test, count).tolist()]


def untrained(config, count):
    """The same of networks that were never trained, on pictures of standing people."""
    where = default_device()
    torch.manual_seed(config.seed)
    encoder = ImageEncoder(config.encoder, config.data.image_size).eval().to(where)
    denoiser = make_denoiser(config, encoder.feature_shape).eval().to(where)
    tokenizer = PoseTokenizer(config.tokenizer.sizes).eval().to(where)
    steps = config.evaluation.num_inference_steps
    model = PoseModel(denoiser, make_schedule(config), tokenizer, steps)
    generator = torch.Generator().manual_seed(config.seed)
    joints = turned_people(count, generator)
    intrinsics = camera.crop_intrinsics(joints, config.data.image_size)
    appearance = sample_appearance(count, generator)
    images = render(joints, intrinsics, appearance, config.data.image_size).images
    points, poses = camera.project(joints, intrinsics), joints - joints[:, :1]
    targets = [Target(row, images[row], poses[row], points[row]) for row in range(count)]
    return ImageModel(encoder, model, SOFT), targets


def measured(attack, targets):
    """What both searches take on the same images.

    Args:
        attack: an `Attack`.
        targets: `Target`s; the first is also attacked once before the clock runs.

    Returns:
        a dict for JSON: `positions` of the grid; `seconds_per_image`, a mean, and
        `positions_per_image` of each search; `full_over_coarse`, the ratio of the times;
        `positions_spared`, the share of the grid that the coarse search does not look at.

    Raises:
        ValueError: no targets.
    """
    require(len(targets) > 0, "`targets` must hold at least one image; got none")
    spent = {name: [] for name in SEARCHES}
    looked_at = dict.fromkeys(SEARCHES, 0)

    def counting(name):
        def search(errors_of, grid):
            def counted(positions):
                looked_at[name] += len(positions)
                return errors_of(positions)

            return SEARCHES[name](counted, grid)

        return search

    attack.attack(targets[0], SEARCHES[COARSE_TO_FINE])  # warm-up
    for turn, one in enumerate(targets):
        for name in SEARCHES if turn % 2 else reversed(SEARCHES):
            started = time.perf_counter()
            attack.attack(one, counting(name))  # poses come back to the CPU: a GPU has ended too
            spent[name].append(time.perf_counter() - started)
    seconds = {name: statistics.fmean(times) for name, times in spent.items()}
    per_image = {name: number / len(targets) for name, number in looked_at.items()}
    return {
        "positions": attack.grid.num_positions,
        "seconds_per_image": seconds,
        "positions_per_image": per_image,
        "full_over_coarse": seconds[FULL] / seconds[COARSE_TO_FINE],
        "positions_spared": 1 - per_image[COARSE_TO_FINE] / attack.grid.num_positions,
    }


def main(arguments=None):
    """Print times and ratios, and write them where a path is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT.json")
    parser.add_argument("--images", default=12, type=int)
    options = parser.parse_args(arguments)
    config = load_config(ROOT / PARAMS)
    pipeline = finished_pipeline(PARAMS)
    found = trained(pipeline, options.images) if pipeline else untrained(config, options.images)
    model, targets = found
    result = {
        "machine": machine(),
        "networks": "the finished lesson pipeline's" if pipeline else "untrained, of its sizes",
        "images": len(targets),
        "draws": DRAWS,
        "fresh_draws": FRESH_DRAWS,
        "patches": {},
    }
    print(json.dumps(result, indent=1), flush=True)
    textures = open_textures(None, config.data.image_size[0])
    for patch in PATCHES:
        grid = patch_grid(patch, config.data.image_size)
        attack = Attack(model, textures, grid, config.seed, DRAWS, FRESH_DRAWS)
        result["patches"][grid.name] = measured(attack, targets)
        print(grid.name, json.dumps(result["patches"][grid.name], indent=1), flush=True)
    minutes = {
        name: sum(p["seconds_per_image"][name] for p in result["patches"].values()) * ATTACKED / 60
        for name in SEARCHES
    }
    result["extrapolated"] = {
        "images_for_each_patch": ATTACKED,
        "minutes_for_all_patches": minutes,
        "full_over_coarse": minutes[FULL] / minutes[COARSE_TO_FINE],
        "goal_minutes_coarse_to_fine": GOAL_MINUTES,
    }
    print("extrapolated", json.dumps(result["extrapolated"], indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
