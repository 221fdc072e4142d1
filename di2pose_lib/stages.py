"""The pipeline's stages: each makes its artefact, or loads the one that stands there.

A notebook calls its own stage's function. Those of earlier stages then load what the
pipeline made; in a reader's notebook, which has no pipeline behind it, they make it.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.files import (
    is_there,
    load_tensors,
    read_json,
    save_tensors,
    write_json,
    write_text,
)
from di2pose_lib.base.machine import machine
from di2pose_lib.base.precision import compute_in
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data.dataset import SPLITS, PoseDataset
from di2pose_lib.data.preparation import prepare_dataset
from di2pose_lib.data.source_record import check_record
from di2pose_lib.data.sources import open_source
from di2pose_lib.diffusion.training import make_denoiser, make_schedule, train_denoiser
from di2pose_lib.encoder.image_encoder import ImageEncoder, checkpoint_digests
from di2pose_lib.encoder.training import encode_images, train_encoder, write_features
from di2pose_lib.evaluation import protocols
from di2pose_lib.evaluation.contenders import References, di2pose_contenders
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.evaluation.measure import CONDITIONS, Prediction, evaluation_rows, predict, summary
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from di2pose_lib.tokens.training import train_tokenizer

WEIGHTS = "weights.safetensors"


class Trained(NamedTuple):
    """A trained, frozen network, its training history and its report."""

    model: nn.Module
    history: list
    report: dict


def device():
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepared_data(pipeline):
    """Stage 01: {split: PoseDataset}."""
    config = pipeline.config

    def made_from():
        source = open_source(config)
        if pipeline.stage:
            check_record(config, source)
        return {
            "data": to_dict(config.data),
            "seed": config.seed,
            "source": source.identity(),
        }

    def build(new, inputs):
        prepare_dataset(new, open_source(config), config.data, config.seed)

    folder = pipeline.artifact("data_preparation", made_from, build)
    return {split: PoseDataset(folder / split) for split in SPLITS}


def image_encoder(pipeline):
    """Stage 02: the `ImageEncoder`; features of the training images where cached."""
    config, data = pipeline.config, prepared_data(pipeline)

    precision = config.diffusion.precision

    def made_from():
        lower = {} if precision == "float32" else {"precision": precision}
        return {
            "encoder": to_dict(config.encoder),
            "checkpoint": checkpoint_digests(config.encoder),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
            **lower,
        }

    def build(new, inputs):
        encoder = _seeded(
            config, "image encoder", ImageEncoder, config.encoder, data["train"].image_size
        )
        compute_in(precision, encoder, "forward")
        history, report = [], {}
        if config.encoder.backbone == "small":
            checkpoints = pipeline.checkpoint_folder("image_encoder", inputs)
            history, report = train_encoder(
                encoder, data["train"], data["validation"], config.encoder, config.seed, checkpoints
            )
        encoder.eval()
        if config.encoder.cache_features:
            write_features(encoder, data["train"], new / "train_features.npy")
        _save(new, encoder, history, report)

    folder = pipeline.artifact("image_encoder", made_from, build)
    found = _load(pipeline, folder, ImageEncoder(config.encoder, data["train"].image_size))
    compute_in(precision, found.model, "forward")
    return found


def pose_tokenizer(pipeline):
    """Stage 03: the `PoseTokenizer`."""
    config, data = pipeline.config, prepared_data(pipeline)

    def made_from():
        return {
            "tokenizer": to_dict(config.tokenizer),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
        }

    def build(new, inputs):
        tokenizer = _seeded(config, "pose tokenizer", PoseTokenizer, config.tokenizer.sizes)
        checkpoints = pipeline.checkpoint_folder("pose_tokenizer", inputs)
        history, report = train_tokenizer(
            tokenizer, data["train"], data["validation"], config.tokenizer, config.seed, checkpoints
        )
        _save(new, tokenizer, history, report)

    folder = pipeline.artifact("pose_tokenizer", made_from, build)
    return _load(pipeline, folder, PoseTokenizer(config.tokenizer.sizes))


def denoiser(pipeline):
    """Stage 05: the `Denoiser`."""
    config, data = pipeline.config, prepared_data(pipeline)
    encoder, tokenizer = image_encoder(pipeline).model, pose_tokenizer(pipeline).model

    def made_from():
        return {
            "diffusion": to_dict(config.diffusion),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
            "encoder": pipeline.content("image_encoder"),
            "tokenizer": pipeline.content("pose_tokenizer"),
        }

    def build(new, inputs):
        network = _seeded(
            config,
            "denoiser",
            make_denoiser,
            config,
            encoder.feature_shape,
            tokenizer.quantizer.code_table().cpu(),
        )
        checkpoints = pipeline.checkpoint_folder("diffusion_training", inputs)
        validation = data["validation"]
        history, report = train_denoiser(
            network,
            make_schedule(config),
            tokenize(tokenizer, data["train"]),
            train_features(pipeline, encoder, data["train"]),
            (
                tokenize(tokenizer, validation),
                lambda rows: encode_images(encoder, validation, rows),
            ),
            config.diffusion,
            config.seed,
            checkpoints,
        )
        _save(new, network, history, report)

    folder = pipeline.artifact("diffusion_training", made_from, build)
    found = _load(pipeline, folder, make_denoiser(config, encoder.feature_shape))
    compute_in(config.diffusion.precision, found.model, "forward", "condition_memory")
    return found


def pose_model(pipeline):
    """Denoiser, chain and tokenizer of a trained pipeline, ready to predict from features."""
    config = pipeline.config
    return PoseModel(
        denoiser(pipeline).model,
        make_schedule(config),
        pose_tokenizer(pipeline).model,
        config.evaluation.num_inference_steps,
        spacing=config.evaluation.step_spacing,
        order=config.evaluation.step_order,
    )


def evaluation(pipeline):
    """Stage 06: ({occlusion: predictions}, rows of evaluation.json)."""
    config, data = pipeline.config, prepared_data(pipeline)
    model, encoder = pose_model(pipeline), image_encoder(pipeline).model

    def made_from():
        return {
            "evaluation": to_dict(config.evaluation),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
            "encoder": pipeline.content("image_encoder"),
            "tokenizer": pipeline.content("pose_tokenizer"),
            "denoiser": pipeline.content("diffusion_training"),
        }

    def build(new, inputs):
        features = train_features(pipeline, encoder, data["train"])
        for occlusion, split in CONDITIONS.items():
            predictions = predict(
                model,
                encoder,
                data[split],
                data["train"],
                features,
                config.evaluation,
                config.seed,
                occlusion,
            )
            save_tensors(new / f"{occlusion}.pt", [tuple(p) for p in predictions])

    folder = pipeline.artifact("evaluation", made_from, build)
    predictions = {
        occlusion: [Prediction(*parts) for parts in load_tensors(folder / f"{occlusion}.pt")]
        for occlusion in CONDITIONS
    }
    rows = [
        {"data": config.data.source, "scale": config.scale, **row, **machine()}
        for occlusion, split in CONDITIONS.items()
        for prediction in predictions[occlusion]
        for row in evaluation_rows(prediction, data[split], occlusion, config)
    ]
    if pipeline.stage in (None, "evaluation"):
        write_json(pipeline.results / "evaluation.json", rows)
        write_json(pipeline.results / "evaluation_summary.json", summary(rows))
    return predictions, rows


def tested(pipeline):
    """The `Tested` of a pipeline: Di2Pose and the baselines; trains what is missing."""
    encoder, data = image_encoder(pipeline).model, prepared_data(pipeline)
    features = train_features(pipeline, encoder, data["train"])
    model = pose_model(pipeline)
    references = References(data["train"], features, encoder, model.tokenizer)
    return protocols.Tested(pipeline.config, data, di2pose_contenders(encoder, model), references)


@torch.no_grad()
def tokenize(tokenizer, dataset, poses_at_once=4096):
    """Tokens int64 (n, N), on the CPU, of all poses of a split."""
    where = next(tokenizer.parameters()).device
    starts = range(0, len(dataset), poses_at_once)
    parts = (dataset.take("pose", slice(s, s + poses_at_once)).to(where) for s in starts)
    return torch.cat([tokenizer.encode(part).cpu() for part in parts])


def train_features(pipeline, encoder, train):
    """`rows -> features (B, tokens, width)` of training images: cached, or computed anew."""
    path = pipeline.artifacts / "image_encoder" / "train_features.npy"
    if not is_there(path):
        return lambda rows: encode_images(encoder, train, rows)
    cached = np.load(path, mmap_mode="r", allow_pickle=False)
    return lambda rows: torch.from_numpy(np.array(cached[rows])).float()


def _seeded(config, name, make, *arguments):
    """A network whose first weights depend on the seed and its name alone."""
    torch.manual_seed(seed_for(config.seed, name))
    return make(*arguments).to(device())


def _save(folder, model, history, report):
    from safetensors.torch import save_file

    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    write_json(folder / "history.json", history)
    write_json(folder / "report.json", report)


def _load(pipeline, folder, model):
    """A `Trained` from an artefact; its report and history also become results."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / WEIGHTS))
    history, report = read_json(folder / "history.json"), read_json(folder / "report.json")
    if pipeline.stage in (None, folder.name):
        write_json(pipeline.results / f"{folder.name}.json", report)
        columns = list(history[0]) if history else ["step", "loss"]
        lines = [",".join(f"{row[column]}" for column in columns) for row in history]
        write_text(
            pipeline.results / f"{folder.name}_history.csv",
            "\n".join([",".join(columns), *lines]) + "\n",
        )
    model.requires_grad_(False)
    return Trained(model.eval().to(device()), history, report)
