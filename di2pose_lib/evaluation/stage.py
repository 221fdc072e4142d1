"""Stage 06: a trained model and what is measured of it."""

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.files import load_tensors, save_tensors, write_json
from di2pose_lib.base.machine import machine
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.diffusion.stage import trained_denoiser
from di2pose_lib.diffusion.training import make_schedule
from di2pose_lib.encoder.stage import train_features, trained_encoder
from di2pose_lib.evaluation import protocols
from di2pose_lib.evaluation.contenders import References, di2pose_contenders
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.evaluation.measure import (
    CONDITIONS,
    Prediction,
    evaluation_rows,
    predict,
    summary,
)
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
    """Stage 06: ({occlusion: predictions}, rows of evaluation.json)."""
    config, data = pipeline.config, prepared_data(pipeline)
    model, encoder = pose_model(pipeline), trained_encoder(pipeline).model

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
    encoder, data = trained_encoder(pipeline).model, prepared_data(pipeline)
    features = train_features(pipeline, encoder, data["train"])
    model = pose_model(pipeline)
    references = References(data["train"], features, encoder, model.tokenizer)
    return protocols.Tested(pipeline.config, data, di2pose_contenders(encoder, model), references)
