"""Stage 05: the denoiser."""

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.devices import compute_in
from di2pose_lib.base.trained import load, save, seeded
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.diffusion.training import make_denoiser, make_schedule, train_denoiser
from di2pose_lib.encoder.stage import train_features, trained_encoder
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.tokens.stage import tokenize, trained_tokenizer


def trained_denoiser(pipeline):
    """Stage 05: the `Denoiser`."""
    config, data = pipeline.config, prepared_data(pipeline)
    encoder, tokenizer = trained_encoder(pipeline).model, trained_tokenizer(pipeline).model

    def made_from():
        return {
            "diffusion": to_dict(config.diffusion),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
            "encoder": pipeline.content("image_encoder"),
            "tokenizer": pipeline.content("pose_tokenizer"),
        }

    def build(new, inputs):
        network = seeded(
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
        save(new, network, history, report)

    folder = pipeline.artifact("diffusion_training", made_from, build)
    trained = load(pipeline, folder, make_denoiser(config, encoder.feature_shape))
    compute_in(config.diffusion.precision, trained.model, "forward", "condition_memory")
    return trained
