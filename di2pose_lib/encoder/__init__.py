"""What the denoiser sees of a picture (notebook 02): the image encoder and its training.

A small vision transformer, trained here to find 2D joints, or a frozen ViTPose; either gives one
feature vector for each patch of the picture.
"""

from di2pose_lib.encoder.image_encoder import (
    CELLS_PER_PATCH,
    ImageEncoder,
    heatmap_joints,
    heatmap_loss,
)
from di2pose_lib.encoder.stage import train_features, trained_encoder
from di2pose_lib.encoder.training import encode_images, train_encoder

__all__ = [
    "CELLS_PER_PATCH",
    "ImageEncoder",
    "encode_images",
    "heatmap_joints",
    "heatmap_loss",
    "train_encoder",
    "train_features",
    "trained_encoder",
]
