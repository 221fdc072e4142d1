"""Run the ablations: train each setting with each seed, and add its rows to its table's block.

`python -m studies.ablation_runs --help`. Rows that exist are skipped, a run that was killed
continues, and what runs share (images, encoder, a tokenizer, a denoiser that is run in different
numbers of steps) is made once for each seed.
"""

import dataclasses
import shutil
import sys

import torch

from di2pose_lib.base import surroundings
from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.devices import default_device
from di2pose_lib.base.files import fingerprint, is_there, locked
from di2pose_lib.base.metrics import MM_PER_M
from di2pose_lib.base.project import LIBRARY_DIGEST, Pipeline
from di2pose_lib.base.seeding import generator_for, seed_for
from di2pose_lib.base.skeleton import bone_lengths
from di2pose_lib.base.training import fit
from di2pose_lib.data.source_record import read_record
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.evaluation.estimators import CHAIN
from di2pose_lib.evaluation.measure import error_rows, joint_errors
from di2pose_lib.evaluation.models import RECONSTRUCTION, TOKENIZER, di2pose_models
from di2pose_lib.evaluation.pictures import SPLITS, joined, truth_of
from di2pose_lib.evaluation.stage import answers_of, pose_model
from di2pose_lib.evaluation.step_curve import step_curve
from di2pose_lib.evaluation.table import cluster_rows
from di2pose_lib.tokens.designs import DesignedTokenizer, design_size
from di2pose_lib.tokens.pct import PCTLoss, design_report, pct_loss
from di2pose_lib.tokens.stage import trained_tokenizer
from di2pose_lib.tokens.training import augment_poses, reconstruction_report
from studies import ablations, blocks
from studies.ablation_times import predicted_seconds

PARAMS = "studies/ablations.yaml"  # seen from the repository's top folder
SEEDS = (3, 4, 5)  # not those with which sizes and rates were chosen
SETTLING = 200  # batches in which a learned codebook follows the averaged weights

# The sections of the parameters that an artefact depends on, besides the seed.
NEEDS = {
    "data_preparation": ("data",),
    "image_encoder": ("data", "encoder"),
    "pose_tokenizer": ("data", "tokenizer"),
    "diffusion_training": ("data", "encoder", "tokenizer", "diffusion"),
}


class Run(blocks.Run):
    """One setting of a table on one data source with one seed."""

    def __init__(self, base, table, setting, source, seed, root=None):
        config = ablations.config_of(base, setting, source, seed)
        self.kind = table.kind
        self.design = setting.design and ablations.sized(setting.design)
        values = ablations.run_values(config, self.kind, self.design)
        super().__init__(table.study, setting.name, config, values, root)
        self.store = self.root / "scratch" / "ablations" / f"{source}-{seed}"

    def stored(self, stage):
        """Where an artefact is kept for other runs with the same needs and the same code."""
        values = to_dict(self.config)
        files = read_record(self.config).get("identity")
        needs = [LIBRARY_DIGEST, files, *(values[section] for section in NEEDS[stage])]
        return self.store / stage / fingerprint(needs)

    def go(self):
        """As `blocks.Run.go`; artefacts and checkpoints stay until the rows are written.

        One process at a time works with a source and a seed.
        """
        with locked(self.store):
            super().go()
            shutil.rmtree(self.store / "runs" / self.key, ignore_errors=True)

    def measured(self):
        """Rows of the setting; what is trained for it is kept for other runs."""
        pipeline = Pipeline(self.config, self.store / "runs" / self.key)
        for stage in NEEDS:
            link = pipeline.artifacts / stage
            if link.is_symlink():  # of a run that was killed, perhaps to another code's
                link.unlink()
            if is_there(self.stored(stage), folder=True) and not is_there(link, folder=True):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.stored(stage))
        rows = self._measured(pipeline)
        for stage in NEEDS:
            made = pipeline.artifacts / stage
            if made.is_symlink() or not is_there(made, folder=True):
                continue
            if not is_there(self.stored(stage), folder=True):
                self.stored(stage).parent.mkdir(parents=True, exist_ok=True)
                made.rename(self.stored(stage))
        return rows

    def _measured(self, pipeline):
        if self.kind == ablations.DENOISER:
            return _estimates(pipeline).assign(setting=self.name)
        if self.kind == ablations.STEPS:
            model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
            return step_curve(model, encoder, prepared_data(pipeline), self.config.seed)
        if self.design is None:
            tokenizer, report = trained_tokenizer(pipeline).model, reconstruction_report
            parameters = sum(p.numel() for p in tokenizer.parameters())
        else:
            tokenizer, report = _designed_tokenizer(pipeline, self.design), design_report
            parameters = design_size(self.design).parameters  # a learned codebook counts too
        rows = _reconstruction(tokenizer, report, parameters, pipeline)
        return rows.assign(setting=self.name)


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


def _reconstruction(tokenizer, report, parameters, pipeline):
    """Rows of what a tokenizer makes of the test subjects' poses, and of its codes."""
    test = prepared_data(pipeline)["test"]
    truth, where = truth_of(test, pipeline.config), next(tokenizer.parameters()).device
    with torch.no_grad():
        rebuilt = tokenizer(truth.pose.to(where)).cpu()
    errors = joint_errors(rebuilt, truth.pose)
    bones = (bone_lengths(rebuilt) - bone_lengths(truth.pose)).abs() * MM_PER_M
    errors["bone_error_mm"] = bones.double()
    place = {"method": TOKENIZER, "estimator": RECONSTRUCTION}
    tables = [
        truth.rows(each.mean(dim=1), metric=metric, **place) for metric, each in errors.items()
    ]
    code_use = report(tokenizer, truth.pose.to(where))
    code_use = {name: value for name, value in code_use.items() if "_mm" not in name}
    for metric, value in (code_use | {"parameters": parameters}).items():
        alone = torch.tensor([float(value)], dtype=torch.float64)
        tables.append(cluster_rows(alone, [""], metric=metric, **place).assign(n=len(test)))
    return joined(tables)


def _estimates(pipeline):
    """Rows of what Di2Pose makes of the test images, clean and with occluders."""
    config, data = pipeline.config, prepared_data(pipeline)
    model, encoder = pose_model(pipeline), trained_encoder(pipeline).model
    models = di2pose_models(encoder, model, config.evaluation.num_hypotheses)
    models = [one for one in models if one.estimator != CHAIN]  # it takes long
    return joined(
        [
            error_rows(
                answers_of(models, encoder, data, config, occlusion),
                truth_of(data[split], config, occlusion),
            )
            for occlusion, split in SPLITS.items()
        ]
    )


def planned(base, tables, sources, seeds, root=None):
    """`Run`s in the order of running: each seed's tables together."""
    return [
        Run(base, table, setting, source, seed, root)
        for source in sources
        for seed in seeds
        for table in tables
        for setting in table.settings
    ]


def main(arguments):
    """Command line; returns the exit code."""

    def of_names(base, names, sources, seeds):
        return planned(base, [ablations.table_of(name) for name in names], sources, seeds)

    names = [table.name for table in ablations.EVERY_TABLE]
    program = "studies.ablation_runs"
    return blocks.command(
        program, __doc__, names, SEEDS, PARAMS, of_names, predicted_seconds, arguments
    )


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
