"""The sections of params.yaml as dataclasses, which refuse contradictions.

The types say what each value may be; `config_file` holds the file to them.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import NUM_JOINTS

SOURCES = ("synthetic", "mocap")
STEP_DRAWS = ("uniform", "importance")
MOST_LEVELS = 1000  # beyond, FSQ.EPS would round to one value too many at either end
MOST_CODES = 2**20  # the denoiser scores every one of them for each token


def check_levels(levels):
    """Refuse what cannot be the levels of finite scalar quantization."""
    fits = len(levels) > 0 and all(type(n) is int and 2 <= n <= MOST_LEVELS for n in levels)
    wanted = f"`levels` must be one or more integers in [2, {MOST_LEVELS}]"
    require(fits, f"{wanted}; got {list(levels)}")


class Within:
    """A number's limits, in `Annotated`: the reader of params.yaml holds the file to them.

    pydantic asks for them by the method's name; here nothing imports it. Keys: gt, ge, lt, le.
    """

    def __init__(self, **limits):
        self.limits = limits

    def __get_pydantic_core_schema__(self, kind, handler):
        return handler(kind) | self.limits


Number = TypeVar("Number", int, float)
Positive = Annotated[Number, Within(gt=0)]
NotNegative = Annotated[Number, Within(ge=0)]
Share = Annotated[float, Within(ge=0, le=1)]
BelowOne = Annotated[float, Within(ge=0, lt=1)]


@dataclass(frozen=True)
class CameraRing:
    """Cameras on a ring around the scene; each pans to keep the person in view."""

    azimuths_deg: tuple[float, ...]
    radius: Positive[float]  # metres
    height: float  # metres

    def __post_init__(self):
        require(len(self.azimuths_deg) > 0, "`azimuths_deg` must name at least one camera; got []")

    @property
    def places(self):
        """Where the cameras stand: a set of (azimuth in [0, 360), radius, height)."""
        return {(azimuth % 360, self.radius, self.height) for azimuth in self.azimuths_deg}


@dataclass(frozen=True)
class DataConfig:
    """What the data preparation renders, for each split."""

    source: Literal[SOURCES]
    image_height: Positive[int]
    image_width: Positive[int]
    frames_per_second: Positive[float]
    train_sequences: Positive[int]
    validation_sequences: Positive[int]
    test_sequences: Positive[int]
    frames_per_sequence: Positive[int]
    test_frames_per_sequence: Positive[int]
    train_cameras: CameraRing
    test_cameras: CameraRing
    train_occluder_share: Share  # images with an occluder in train and validation

    def __post_init__(self):
        shared = sorted(self.train_cameras.places & self.test_cameras.places)
        require(
            not shared,
            "`test_cameras` must stand where no train camera stands; "
            f"got (azimuth, radius, height) {', '.join(map(str, shared))} in both",
        )

    @property
    def num_train_images(self):
        """Rows of the train split."""
        return self.train_sequences * self.frames_per_sequence

    @property
    def image_size(self):
        """(height, width) in pixels."""
        return self.image_height, self.image_width


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, cosine decay, gradient clipping and an average of the weights."""

    epochs: Positive[float]
    batch_size: Positive[int]
    learning_rate: Positive[float]
    weight_decay: NotNegative[float]
    beta2: BelowOne
    warmup_steps: NotNegative[int]
    clip_norm: Positive[float]
    ema_decay: BelowOne  # 0 keeps no average
    checkpoint_every: Positive[int]  # steps


def _check_heads(width, heads):
    require(width % heads == 0, f"`width` must be a multiple of heads = {heads}; got {width}")


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder: VitPose weights from outside, or a small one that we train."""

    backbone: Literal["small", "vitpose"]
    checkpoint: str  # vitpose: a checkpoint name or a local folder; small: empty
    patch_size: Positive[int]
    width: Positive[int]
    layers: Positive[int]
    heads: Positive[int]
    heatmap_sigma: Positive[float]  # heatmap cells
    cache_features: bool  # compute the training images' features once, for stage 2
    optimizer: OptimizerConfig

    def __post_init__(self):
        require(
            (self.backbone == "vitpose") == bool(self.checkpoint),
            "`checkpoint` must be given for backbone vitpose and empty for small; "
            f"got {self.checkpoint!r} with {self.backbone}",
        )
        require(  # with VitPose's padding of 2, smaller patches give another grid
            self.backbone == "vitpose" or self.patch_size >= 5,
            f"`patch_size` must be at least 5; got {self.patch_size}",
        )
        _check_heads(self.width, self.heads)


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of the tokenizer; the paper's are 100 tokens, levels [7, 5, 5, 5, 5], width 2048."""

    num_tokens: Positive[int]  # N
    levels: tuple[int, ...]  # L_i; their product is C
    width: Positive[int]  # D of the encoder
    encoder_blocks: Positive[int]
    decoder_width: Positive[int]
    decoder_blocks: Positive[int]
    local_joints: Positive[int]  # X; 1 means no shift
    neighbours: Literal["index", "tree"]  # where Joint Shift takes features from
    start_at_joints: bool  # training begins with each token at one joint
    mlp_ratio: Positive[float] = 1.0  # hidden width of the channel MLP, silent in the paper; PCT: 1
    num_joints: Positive[int] = NUM_JOINTS  # J

    def __post_init__(self):
        object.__setattr__(self, "levels", tuple(self.levels))
        require(
            self.neighbours == "index" or self.num_joints == NUM_JOINTS,
            f"`num_joints` must be {NUM_JOINTS} for neighbours in the skeleton's tree; "
            f"got {self.num_joints}",
        )
        narrowest = min(self.width, self.decoder_width)
        require(
            round(narrowest * self.mlp_ratio) >= 1,
            f"`mlp_ratio` must leave at least 1 of {narrowest} channels; got {self.mlp_ratio}",
        )
        check_levels(self.levels)
        require(
            self.num_codes <= MOST_CODES,
            f"`levels` must multiply to at most {MOST_CODES} codes; got {list(self.levels)}",
        )
        odd = self.local_joints % 2 == 1
        require(odd, f"`local_joints` must be odd; got {self.local_joints}")
        require(
            self.local_joints <= self.num_joints,
            f"`local_joints` must not exceed num_joints = {self.num_joints}; "
            f"got {self.local_joints}",
        )

    @property
    def channels(self):
        """d, the channels of a code."""
        return len(self.levels)

    @property
    def num_codes(self):
        """C, the number of codes a token can take."""
        return math.prod(self.levels)


@dataclass(frozen=True)
class TokenizerStageConfig:
    """Stage 1: sizes, augmentation and training of the pose tokenizer."""

    sizes: TokenizerConfig
    rotate: bool  # turn training poses about the vertical
    flip: bool  # mirror half of them
    scale_range: BelowOne  # and scale them by up to this share; 1 would leave a point
    optimizer: OptimizerConfig


@dataclass(frozen=True)
class DiffusionConfig:
    """Stage 2: the chain, the denoiser's sizes and its training."""

    num_steps: Annotated[int, Within(ge=4)]  # S; the notebooks show quarters of the chain
    final_occlude_rate: Share
    final_replace_rate: Share
    aux_weight: NotNegative[float]  # λ
    aux_by_step: Literal["constant", "falling"]  # λ at every step, or λ · (2 − s / S)
    step_draws: Literal[STEP_DRAWS]  # how training draws its steps
    width: Positive[int]
    layers: Positive[int]
    heads: Positive[int]
    precision: Literal["float32", "bfloat16"]
    start_from_codes: bool  # near codes begin with near embeddings and logits
    optimizer: OptimizerConfig

    def __post_init__(self):
        total = self.final_occlude_rate + self.final_replace_rate
        require(
            abs(total - 1) < 1e-9,
            f"`final_occlude_rate` + `final_replace_rate` must be 1; got {total}",
        )
        _check_heads(self.width, self.heads)


@dataclass(frozen=True)
class EvaluationConfig:
    """How poses are drawn and how sure we are of their errors."""

    num_hypotheses: Positive[int]  # H
    num_inference_steps: Positive[int]
    step_spacing: Literal["uniform", "cosine"]
    step_order: Literal["random", "confidence"]  # which tokens leave Occ first
    batch_size: Positive[int]  # images


@dataclass(frozen=True)
class Config:
    """Everything that params.yaml says."""

    scale: Literal["smoke", "lesson", "paper"]
    seed: NotNegative[int]
    data: DataConfig
    encoder: EncoderConfig
    tokenizer: TokenizerStageConfig
    diffusion: DiffusionConfig
    evaluation: EvaluationConfig

    def __post_init__(self):
        joints = self.tokenizer.sizes.num_joints
        require(
            joints == NUM_JOINTS,
            f"`tokenizer.sizes.num_joints` must be {NUM_JOINTS} as in the data; got {joints}",
        )
        images = self.data.num_train_images
        for section in ("encoder", "tokenizer", "diffusion"):
            batch_size = getattr(self, section).optimizer.batch_size
            require(
                batch_size <= images,
                f"`{section}.optimizer.batch_size` must not exceed the {images} training images "
                f"(data.train_sequences times data.frames_per_sequence); got {batch_size}",
            )
        patch = self.encoder.patch_size
        require(
            all(size % patch == 0 for size in self.data.image_size),
            f"`data.image_height` and `data.image_width` must be multiples of "
            f"encoder.patch_size = {patch}; got {self.data.image_size}",
        )
        require(
            self.evaluation.num_inference_steps <= self.diffusion.num_steps,
            "`evaluation.num_inference_steps` must not exceed diffusion.num_steps = "
            f"{self.diffusion.num_steps}; got {self.evaluation.num_inference_steps}",
        )
        require(
            self.evaluation.step_order == "random" or self.diffusion.final_occlude_rate > 0,
            "`evaluation.step_order` must be random where diffusion.final_occlude_rate is 0; "
            f"got {self.evaluation.step_order!r}",
        )
