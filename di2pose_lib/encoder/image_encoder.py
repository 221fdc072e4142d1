"""The image encoder: a VitPose backbone, given or trained here on 2D-joint heatmaps, then frozen.

Images are RGB; the backbone sees them scaled to [0, 1] and normalised by ImageNet's mean
and standard deviation. Its patches have padding 2, as ViTPose's weights need.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.files import file_digest, is_there
from di2pose_lib.base.project import project_root
from di2pose_lib.base.skeleton import NUM_JOINTS
from di2pose_lib.data.dataset import IMAGENET_MEAN, IMAGENET_STD

CELLS_PER_PATCH = 4  # heatmap cells along each side of a patch, as ViTPose's ×4 upsampling


@contextmanager
def _no_widgets_needed():
    """No warning that a notebook lacks ipywidgets, which a bar of transformers would use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


def _new_backbone(config, image_size):
    with _no_widgets_needed():
        from transformers import VitPoseBackbone, VitPoseBackboneConfig

    backbone = VitPoseBackbone(
        VitPoseBackboneConfig(
            image_size=list(image_size),
            patch_size=[config.patch_size, config.patch_size],
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            layer_norm_eps=1e-6,
            initializer_range=config.width**-0.5 / 2,  # ViT's 0.02 at width 625
        )
    )
    # Positions start as sines and cosines, not at zero: a small budget need not learn them.
    grid = [size // config.patch_size for size in image_size]
    with torch.no_grad():
        positions = _sine_positions(grid, config.width)
        backbone.embeddings.position_embeddings.zero_()[:, 1:] = positions
    return backbone


def _sine_positions(grid, width):
    """Sines and cosines of a patch's row and column, float (1, rows · columns, width)."""
    quarter = -(-width // 4)
    frequency = torch.pi * 0.5 ** (torch.arange(quarter) / quarter * 4)
    waves = []
    for axis, cells in enumerate(grid):
        place = torch.arange(cells).view(-1, 1) if axis == 0 else torch.arange(cells).view(1, -1)
        angle = place.expand(*grid)[..., None] * frequency
        waves += [angle.sin(), angle.cos()]
    return 0.5 * torch.cat(waves, dim=-1)[..., :width].reshape(1, -1, width)


def _checkpoint_folder(checkpoint):
    """The local folder of `encoder.checkpoint`, seen from the repository; None for a name.

    `~` is the home.
    """
    if not checkpoint:
        return None
    folder = Path(os.path.expanduser(checkpoint))
    if not folder.is_absolute():
        folder = project_root(Path(__file__).parent) / folder
    return folder if is_there(folder, folder=True) else None


def _loaded_backbone(config, image_size):
    """The backbone of a VitPose checkpoint, saved with its pose head or without."""
    from safetensors import SafetensorError

    with _no_widgets_needed():
        from transformers import AutoConfig, VitPoseBackbone, VitPoseForPoseEstimation

    folder = _checkpoint_folder(config.checkpoint)
    kind = "folder" if folder else "checkpoint name or local folder"
    checkpoint = str(folder or config.checkpoint)
    refusal = f"`encoder.checkpoint` must be a VitPose {kind} with safetensors weights; got "
    try:
        whole = AutoConfig.from_pretrained(checkpoint).model_type == "vitpose"
        # use_safetensors: weights from outside are never unpickled.
        model, loading = (VitPoseForPoseEstimation if whole else VitPoseBackbone).from_pretrained(
            checkpoint, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{refusal}{checkpoint!r}: {reason}") from None
    absent = sorted(map(str, loading["missing_keys"])) + sorted(
        map(str, loading["mismatched_keys"])
    )
    # transformers would fill them at random and only warn.
    require(
        not absent, f"{refusal}{checkpoint!r} without, or of another shape: {', '.join(absent[:3])}"
    )
    backbone = model.backbone if whole else model
    experts = backbone.config.num_experts
    require(
        experts == 1,  # ViTPose+ must be told which data set's expert to ask
        f"{refusal}{checkpoint!r} with {experts} experts; take a ViTPose without",
    )
    wanted = tuple(backbone.config.image_size)
    require(
        wanted == tuple(image_size),
        f"`image_size` must be {wanted} for checkpoint {checkpoint!r}; got {tuple(image_size)}",
    )
    return backbone


class Backbone(NamedTuple):
    """What `encoder.backbone` may name."""

    # (`EncoderConfig`, (H, W)) -> a module with a `transformers` backbone's `forward` and `config`
    make: Callable
    trained_here: bool  # whether stage 02 trains it on heatmaps; if not, it comes with its weights


# Another encoder is a line here, and its name in `EncoderConfig`.
BACKBONES = {
    "small": Backbone(_new_backbone, trained_here=True),
    "vitpose": Backbone(_loaded_backbone, trained_here=False),
}


def checkpoint_digests(config):
    """{file: SHA-256} of the weights from outside; empty where none are, or a name is given."""
    folder = _checkpoint_folder(config.checkpoint)
    if folder is None:
        return {}
    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if not path.is_dir()}


class ImageEncoder(nn.Module):
    """Images (B, 3, H, W) to a sequence of features (B, tokens, width).

    Args:
        config: an `EncoderConfig`; its `backbone` is one of `BACKBONES`.
        image_size: (H, W) in pixels.
    """

    def __init__(self, config, image_size):
        super().__init__()
        self.image_size = tuple(image_size)
        self.backbone = BACKBONES[config.backbone].make(config, image_size)
        self.width = self.backbone.config.hidden_size
        patch = self.backbone.config.patch_size[0]
        self.grid = (image_size[0] // patch, image_size[1] // patch)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    @property
    def feature_shape(self):
        """(tokens, width) of an image's features."""
        return self.grid[0] * self.grid[1], self.width

    def forward(self, images):
        """Features (B, tokens, width), row by row, of uint8 images (B, 3, H, W)."""
        check_tensor("images", images, ("B", 3, *self.image_size), "uint8")
        pixels = (images.float() / 255 - self.mean) / self.std
        return self.backbone(pixels).feature_maps[-1].to(pixels.dtype)  # autocast ends here


class HeatmapHead(nn.Module):
    """Features to one heatmap for each joint: the encoder's teacher, dropped afterwards.

    A linear map gives each patch CELLS_PER_PATCH² cells for each joint.
    """

    def __init__(self, width, grid):
        super().__init__()
        self.grid = grid
        self.head = nn.Linear(width, NUM_JOINTS * CELLS_PER_PATCH**2)

    def forward(self, features):
        """Logits (B, J, rows, columns) over the cells of each joint's heatmap."""
        cells = self.head(features).transpose(1, 2).unflatten(2, self.grid)
        return functional.pixel_shuffle(cells, CELLS_PER_PATCH)


def _cell_centres(image_size, heatmap_size, device=None):
    """Pixel coordinates of the cells' centres, rows (h,) and columns (w,)."""
    return [
        (torch.arange(cells, device=device) + 0.5) * size / cells - 0.5
        for size, cells in zip(image_size, heatmap_size, strict=True)
    ]


def heatmap_loss(logits, joints_2d, image_size, sigma):
    """Cross-entropy between each joint's heatmap and a Gaussian around the joint.

    Args:
        logits: float (B, J, h, w).
        joints_2d: true joints, float (B, J, 2), pixels of the image; may lie outside.
        image_size: (H, W) in pixels.
        sigma: standard deviation of the Gaussian in heatmap cells.

    Returns:
        scalar, nats per joint; joints outside the image do not count.
    """
    height, width = image_size
    rows, columns = _cell_centres(image_size, logits.shape[-2:], logits.device)
    x, y = joints_2d[..., :1], joints_2d[..., 1:]
    sigma_y, sigma_x = sigma * height / len(rows), sigma * width / len(columns)
    target_y = torch.softmax(-((rows - y) ** 2) / (2 * sigma_y**2), dim=-1)  # (B, J, h)
    target_x = torch.softmax(-((columns - x) ** 2) / (2 * sigma_x**2), dim=-1)  # (B, J, w)
    target = (target_y[..., :, None] * target_x[..., None, :]).flatten(2)
    inside = ((x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5))[..., 0]
    nats = -(target * logits.flatten(2).log_softmax(dim=-1)).sum(dim=-1)
    return (nats * inside).sum() / inside.sum().clamp_min(1)


def heatmap_joints(logits, image_size):
    """Expected joint positions (B, J, 2) in pixels under heatmap logits (B, J, h, w)."""
    rows, columns = _cell_centres(image_size, logits.shape[-2:], logits.device)
    probs = logits.flatten(2).softmax(dim=-1).unflatten(2, logits.shape[-2:])
    return torch.stack([probs.sum(dim=2) @ columns, probs.sum(dim=3) @ rows], dim=-1)
