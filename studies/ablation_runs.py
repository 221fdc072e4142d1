"""Run the ablations: train each setting with each seed, and keep one small row for each run.

`python -m studies.ablation_runs --help`. Rows that exist are skipped, a run that was
killed continues, and what runs share (images, encoder, a tokenizer, a denoiser that is run
in different numbers of steps) is made once for each seed.
"""

import argparse
import dataclasses
import shutil
import sys

import torch

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config, to_dict
from di2pose_lib.base.devices import default_device
from di2pose_lib.base.files import fingerprint, is_there, locked, write_json
from di2pose_lib.base.machine import machine
from di2pose_lib.base.metrics import MM_PER_M
from di2pose_lib.base.project import LIBRARY_DIGEST, Pipeline, project_root
from di2pose_lib.base.seeding import generator_for, seed_for
from di2pose_lib.base.skeleton import bone_lengths
from di2pose_lib.base.training import fit
from di2pose_lib.data.source_record import read_record
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation import measure
from di2pose_lib.evaluation.stage import pose_model
from di2pose_lib.evaluation.step_curve import step_curve
from di2pose_lib.tokens.designs import DesignedTokenizer, design_size
from di2pose_lib.tokens.pct import PCTLoss, design_report, pct_loss
from di2pose_lib.tokens.stage import trained_tokenizer
from di2pose_lib.tokens.training import augment_poses, reconstruction_report
from studies import ablations
from studies.ablation_times import predicted_seconds
from studies.experiment_runs import check_sources, run_each

PARAMS = "studies/ablations.yaml"  # seen from the repository's top folder
SEEDS = (3, 4, 5)  # not those with which sizes and rates were chosen
SETTLING = 200  # batches in which a learned codebook follows the averaged weights
DIGITS = 3  # of errors in mm: rows stay small

# The sections of the parameters that an artefact depends on, besides the seed.
NEEDS = {
    "data_preparation": ("data",),
    "image_encoder": ("data", "encoder"),
    "pose_tokenizer": ("data", "tokenizer"),
    "diffusion_training": ("data", "encoder", "tokenizer", "diffusion"),
}


class Run:
    """One setting on one data source with one seed.

    Attributes:
        config: its whole `Config`.
        kind: of its table.
        row_path: where its row is, or will be.
    """

    def __init__(self, base, table, setting, source, seed, root=None):
        self.config = ablations.config_of(base, setting, source, seed)
        self.kind = table.kind
        self.design = setting.design and ablations.sized(setting.design)
        root = root or project_root()
        self.values = ablations.run_values(self.config, self.kind, self.design)
        files = read_record(self.config).get("identity")
        self.key = fingerprint([self.values, files])
        self.row_path = root / "pipelines" / "ablations" / "results" / source / f"{self.key}.json"
        self.store = root / "scratch" / "ablations" / f"{source}-{seed}"

    def stored(self, stage):
        """Where an artefact is kept for other runs with the same needs and the same code."""
        values = to_dict(self.config)
        files = read_record(self.config).get("identity")
        needs = [LIBRARY_DIGEST, files, *(values[section] for section in NEEDS[stage])]
        return self.store / stage / fingerprint(needs)

    def go(self):
        """Train what is missing, measure, and write the row.

        Killed, it continues: its artefacts and checkpoints stay until the row is written.
        One process at a time works with a source and a seed.
        """
        pipeline = Pipeline(self.config, self.store / "runs" / self.key)
        with locked(self.store):
            for stage in NEEDS:
                link = pipeline.artifacts / stage
                if link.is_symlink():  # of a run that was killed, perhaps to another code's
                    link.unlink()
                if is_there(self.stored(stage), folder=True) and not is_there(link, folder=True):
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(self.stored(stage))
            measured = self._measure(pipeline)
            for stage in NEEDS:
                made = pipeline.artifacts / stage
                if made.is_symlink() or not is_there(made, folder=True):
                    continue
                if not is_there(self.stored(stage), folder=True):
                    self.stored(stage).parent.mkdir(parents=True, exist_ok=True)
                    made.rename(self.stored(stage))
            made_by = {
                "library": LIBRARY_DIGEST[:16],
                "machine": machine(),
                "from": self.values,
            }
            write_json(self.row_path, {**made_by, **measured})
            shutil.rmtree(pipeline.folder)

    def _measure(self, pipeline):
        if self.kind == ablations.DENOISER:
            return _estimates(pipeline)
        if self.kind == ablations.STEPS:
            model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
            data = prepared_data(pipeline)
            return {"curve": step_curve(model, encoder, data, self.config.seed)}
        test = prepared_data(pipeline)["test"]
        if self.design is None:
            tokenizer, report = trained_tokenizer(pipeline).model, reconstruction_report
        else:
            tokenizer, report = _designed_tokenizer(pipeline, self.design), design_report
        measured = _reconstruction(tokenizer, report, test)
        if self.design is not None:  # a learned codebook counts too
            measured["parameters"] = design_size(self.design).parameters
        return measured


def _designed_tokenizer(pipeline, design):
    """A `DesignedTokenizer`, trained as the pose tokenizer is; PCT's loss for its codebook."""
    config, train = pipeline.config, prepared_data(pipeline)["train"]
    where = default_device()
    torch.manual_seed(seed_for(config.seed, "pose tokenizer"))
    tokenizer = DesignedTokenizer(design).to(where)
    loss = PCTLoss() if design.quantizer == "vq" else PCTLoss(smooth_below=0.0)  # plain L1

    def loss_function(rows, generator):
        pose, rotation = train.take("pose", rows), train.take("camera_rotation", rows)
        pose = augment_poses(pose, rotation, config.tokenizer, generator).to(where)
        return pct_loss(tokenizer, pose, loss, generator)

    checkpoints = pipeline.checkpoint_folder(
        "pose_tokenizer", {"design": dataclasses.asdict(design)}
    )
    fit(
        "pose tokenizer",
        tokenizer,
        loss_function,
        len(train),
        config.tokenizer.optimizer,
        config.seed,
        checkpoints,
    )
    if design.quantizer == "vq":
        _settle_codebook(tokenizer, train, config)
    return tokenizer


@torch.no_grad()
def _settle_codebook(tokenizer, train, config):
    """Let a codebook follow the averaged weights, which `fit` put in place of the last ones."""
    quantizer, where = tokenizer.quantizer, next(tokenizer.parameters()).device
    quantizer.dead_share = 0.0  # nothing is revived any more
    for batch in range(SETTLING):
        generator = generator_for(config.seed, "settle codebook", batch)
        rows = torch.randint(
            len(train), (config.tokenizer.optimizer.batch_size,), generator=generator
        )
        features = tokenizer.project(train.take("pose", rows).to(where))
        quantizer.update(features, quantizer.nearest(features), generator)


def _by_cluster(errors, clusters):
    """Means (mm, rounded) of errors (n,) over the images of each cluster, in its order."""
    means = [errors[clusters == cluster].mean().item() for cluster in clusters.unique()]
    return [round(mean, DIGITS) for mean in means]


def _clusters(dataset):
    """What is resampled, its images' clusters, and how many images each holds."""
    kind, clusters = measure.clusters_of(dataset)
    counts = clusters.unique(return_counts=True)[1].tolist()
    return clusters, {"clusters": kind, "images": counts}


def _reconstruction(tokenizer, report, test):
    """What a tokenizer makes of the test subjects' poses."""
    pose = test.take("pose")
    where = next(tokenizer.parameters()).device
    with torch.no_grad():
        rebuilt = tokenizer(pose.to(where)).cpu()
    clusters, about = _clusters(test)
    errors = {
        f"reconstruction, {metric}": _by_cluster(each.mean(dim=1), clusters)
        for metric, each in measure.joint_errors(rebuilt, pose).items()
    }
    bones = (bone_lengths(rebuilt) - bone_lengths(pose)).abs().mean(dim=1) * MM_PER_M
    errors["reconstruction, bone_length_mm"] = _by_cluster(bones.double(), clusters)
    code_use = report(tokenizer, pose.to(where)).items()
    return {
        **about,
        "errors": errors,
        "code_use": {name: value for name, value in code_use if "_mm" not in name},
        "parameters": sum(p.numel() for p in tokenizer.parameters()),
    }


def _estimates(pipeline):
    """What Di2Pose makes of the test images, clean and with occluders."""
    config, data = pipeline.config, prepared_data(pipeline)
    model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
    errors = {}
    for occlusion, split in measure.CONDITIONS.items():
        dataset = data[split]
        batches = torch.arange(len(dataset)).split(config.evaluation.batch_size)
        features = torch.cat([encode_images(encoder, dataset, rows).cpu() for rows in batches])
        found = measure.predict_from_features(
            model,
            measure.DI2POSE,
            features,
            dataset.take("pose"),
            config.evaluation,
            config.evaluation.num_hypotheses,
            config.seed,
            occlusion,
            default_device(),
        )
        clusters, about = _clusters(dataset)
        hidden = ~dataset.take("visible")
        for prediction in found:
            for metric, each in measure.joint_errors(prediction.pose, dataset.take("pose")).items():
                name = f"{prediction.estimator}, {occlusion}, {metric}"
                errors[name] = _by_cluster(each.mean(dim=1), clusters)
                if occlusion == "occluders" and metric == "mpjpe_mm":
                    some = hidden.any(dim=1)  # every image, but for a lucky occluder
                    only = (each * hidden).sum(dim=1) / hidden.sum(dim=1).clamp_min(1)
                    if all(some[clusters == cluster].any() for cluster in clusters.unique()):
                        name = f"{prediction.estimator}, {occlusion}, occluded joints, {metric}"
                        errors[name] = _by_cluster(only[some], clusters[some])
    return {**about, "errors": errors}


def planned(base, tables, sources, seeds):
    """{row's path: (table, setting, Run)} in the order of running: each seed's tables together."""
    plan = {}
    for source in sources:
        for seed in seeds:
            for table in tables:
                for setting in table.settings:
                    run = Run(base, table, setting, source, seed)
                    plan.setdefault(run.row_path, (table, setting, run))
    return plan


def main(arguments):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.ablation_runs", description=__doc__)
    names = [table.name for table in ablations.EVERY_TABLE]
    parser.add_argument("--table", nargs="+", choices=names, default=names)
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--most", type=int, help="end after this many runs")
    parser.add_argument("--plan", action="store_true", help="say what is missing, run nothing")
    chosen = parser.parse_args(arguments)
    try:
        surroundings.check(project_root())
        base = load_config(project_root() / PARAMS)
        require(base.scale == "lesson", f"`scale` must be lesson in {PARAMS}; got {base.scale}")
        tables = [ablations.table_of(name) for name in chosen.table]
        plan = planned(base, tables, chosen.source, chosen.seed)
        missing = {path: entry for path, entry in plan.items() if not is_there(path)}
        print(f"{len(plan)} runs, {len(missing)} of them missing", flush=True)
        if chosen.plan:
            hours = predicted_seconds([run for *_, run in missing.values()]) / 3600
            print(f"predicted on this machine: {hours:.1f} hours")
            return 0
        check_sources(base, chosen.source)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    named = []
    for table, setting, run in list(missing.values())[: chosen.most]:
        where = f"{run.config.data.source}, seed {run.config.seed}"
        named.append((f"table {table.name}, {setting.name}, {where}", run))
    return run_each(named)


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
