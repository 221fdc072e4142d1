"""Stage 01: the prepared data, made here or loaded."""

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.data.dataset import SPLITS, PoseDataset
from di2pose_lib.data.preparation import prepare_dataset
from di2pose_lib.data.source_record import check_record
from di2pose_lib.data.sources import open_source


def prepared_data(pipeline):
    """Stage 01: {split: PoseDataset}."""
    config = pipeline.config

    def made_from():
        source = open_source(config)
        if pipeline.stage:
            check_record(config, source)
        return {"data": to_dict(config.data), "seed": config.seed, "source": source.identity()}

    def build(new, inputs):
        prepare_dataset(new, open_source(config), config.data, config.seed)

    folder = pipeline.artifact("data_preparation", made_from, build)
    return {split: PoseDataset(folder / split) for split in SPLITS}
