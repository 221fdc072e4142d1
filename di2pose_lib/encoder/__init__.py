"""What the denoiser sees of a picture (notebook 02): the image encoder and its training.

A small vision transformer, trained here to find 2D joints, or a frozen ViTPose; either gives one
feature vector for each patch of the picture.
"""

from di2pose_lib.encoder.image_encoder import CELLS_PER_PATCH
from di2pose_lib.encoder.stage import train_features, trained_encoder
from di2pose_lib.encoder.training import encode_images

__all__ = ["CELLS_PER_PATCH", "encode_images", "train_features", "trained_encoder"]
