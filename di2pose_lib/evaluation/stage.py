"""Stage 06: a trained model and what is measured of it."""

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.files import load_tensors, save_tensors, write_json
from di2pose_lib.base.machine import machine
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.diffusion.stage import trained_denoiser
from di2pose_lib.diffusion.training import make_schedule
from di2pose_lib.encoder.stage import train_features, trained_encoder
from di2pose_lib.evaluation import protocols
from di2pose_lib.evaluation.estimators import ONE_SAMPLE, SOFT, PoseModel
from di2pose_lib.evaluation.measure import (
    action_rows,
    error_rows,
    predict,
    predict_shuffled,
    summary,
)
from di2pose_lib.evaluation.models import Prediction, di2pose_models, reference_models
from di2pose_lib.evaluation.pictures import CLEAN, SPLITS, joined, pictures_of, truth_of
from di2pose_lib.evaluation.table import write_table
from di2pose_lib.tokens.stage import trained_tokenizer


def pose_model(pipeline):
    """Denoiser, chain and tokenizer of a trained pipeline, ready to predict from features."""
    config = pipeline.config
    return PoseModel(
        trained_denoiser(pipeline).model,
        make_schedule(config),
        trained_tokenizer(pipeline).model,
        config.evaluation.num_inference_steps,
        spacing=config.evaluation.step_spacing,
        order=config.evaluation.step_order,
    )


def evaluated(pipeline):
    """Stage 06: ({occlusion: predictions}, rows of evaluation.csv.gz)."""
    config, data = pipeline.config, prepared_data(pipeline)
    models, encoder = models_of(pipeline, config.evaluation.num_hypotheses)

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
        for occlusion in SPLITS:
            predictions = answers_of(models, encoder, data, config, occlusion)
            if occlusion == CLEAN:
                some = [model for model in models if model.estimator in (ONE_SAMPLE, SOFT)]
                predictions += answers_of(some, encoder, data, config, occlusion, shuffled=True)
            save_tensors(new / f"{occlusion}.pt", [tuple(p) for p in predictions])

    folder = pipeline.artifact("evaluation", made_from, build)
    predictions, tables = {}, []
    for occlusion, split in SPLITS.items():
        saved = load_tensors(folder / f"{occlusion}.pt")
        predictions[occlusion] = [Prediction(*parts) for parts in saved]
        truth = truth_of(data[split], config, occlusion)
        tables += [make(predictions[occlusion], truth) for make in (error_rows, action_rows)]
    rows = joined(tables).assign(**machine())
    if pipeline.stage in (None, "evaluation"):
        write_table(pipeline.results / "evaluation.csv.gz", rows)
        write_json(pipeline.results / "evaluation_summary.json", summary(rows))
    return predictions, rows


def answers_of(models, encoder, data, config, occlusion, shuffled=False):
    """`Prediction`s of models for all pictures of "clean" or "occluders", as stage 06 draws them.

    Args:
        models, encoder: as in `measure.predict`.
        data: {split: PoseDataset}.
        config: a `Config`.
        occlusion: a key of `pictures.SPLITS`.
        shuffled: whether each is given another picture (`measure.predict_shuffled`).
    """

    def seed_of(model, row):
        return seed_for(config.seed, "evaluation", model.method, occlusion, row)

    pictures = pictures_of(data, config, occlusion)
    asked = models, encoder, pictures, seed_of, config.evaluation.batch_size
    return predict_shuffled(*asked) if shuffled else predict(*asked)[0]


def models_of(pipeline, samples, hypotheses=1):
    """(`Model`s of a pipeline, Di2Pose's and the references; its encoder); trains what is missing.

    Args:
        samples, hypotheses: of each image, as in `Model`.
    """
    encoder, train = trained_encoder(pipeline).model, prepared_data(pipeline)["train"]
    features, model = train_features(pipeline, encoder, train), pose_model(pipeline)
    references = reference_models(model.tokenizer, train, features)
    return (*references, *di2pose_models(encoder, model, samples, hypotheses)), encoder


def tested(pipeline):
    """The `Tested` of a pipeline."""
    models, encoder = models_of(pipeline, protocols.SAMPLES, protocols.HYPOTHESES)
    return protocols.Tested(pipeline.config, prepared_data(pipeline), encoder, models)
