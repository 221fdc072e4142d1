"""The sections of params.yaml as dataclasses, which refuse contradictions and senseless values."""

import dataclasses
import math
from dataclasses import dataclass

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import NUM_JOINTS

SCALES = ("smoke", "lesson", "paper")
SOURCES = ("synthetic", "mocap")
BACKBONES = ("small", "vitpose")
NEIGHBOURS = ("index", "tree")
AUX_BY_STEP = ("constant", "falling")
STEP_DRAWS = ("uniform", "importance")
SPACINGS = ("uniform", "cosine")
ORDERS = ("random", "confidence")
MOST_LEVELS = 1000  # beyond, FSQ.EPS would round to one value too many at either end
MOST_CODES = 2**20  # the denoiser scores every one of them for each token


def check_levels(levels):
    """Refuse what cannot be the levels of finite scalar quantization."""
    fits = len(levels) > 0 and all(type(n) is int and 2 <= n <= MOST_LEVELS for n in levels)
    wanted = f"`levels` must be one or more integers in [2, {MOST_LEVELS}]"
    require(fits, f"{wanted}; got {list(levels)}")


def _positive(section, config, *names):
    for name in names:
        value = getattr(config, name)
        require(value > 0, f"`{section}.{name}` must be positive; got {value}")


def _not_negative(section, config, *names):
    for name in names:
        value = getattr(config, name)
        require(value >= 0, f"`{section}.{name}` must not be negative; got {value}")


def _share(section, config, *names):
    for name in names:
        value = getattr(config, name)
        require(0 <= value <= 1, f"`{section}.{name}` must lie in [0, 1]; got {value}")


def _one_of(section, config, **known):
    for name, values in known.items():
        got = getattr(config, name)
        wanted = ", ".join(values)
        require(got in values, f"`{section}.{name}` must be one of {wanted}; got {got!r}")


def _below_one(section, config, *names):
    for name in names:
        value = getattr(config, name)
        require(0 <= value < 1, f"`{section}.{name}` must lie in [0, 1); got {value}")


@dataclass(frozen=True)
class CameraRing:
    """Cameras on a ring around the scene; each pans to keep the person in view."""

    azimuths_deg: tuple[float, ...]
    radius: float  # metres
    height: float  # metres

    def __post_init__(self):
        require(
            len(self.azimuths_deg) > 0,
            "`cameras.azimuths_deg` must name at least one camera; got []",
        )
        _positive("cameras", self, "radius")

    @property
    def places(self):
        """Where the cameras stand: a set of (azimuth in [0, 360), radius, height)."""
        return {(azimuth % 360, self.radius, self.height) for azimuth in self.azimuths_deg}


@dataclass(frozen=True)
class DataConfig:
    """What the data preparation renders, for each split."""

    source: str  # one of SOURCES
    image_height: int
    image_width: int
    frames_per_second: float
    train_sequences: int
    validation_sequences: int
    test_sequences: int
    frames_per_sequence: int
    test_frames_per_sequence: int
    train_cameras: CameraRing
    test_cameras: CameraRing
    train_occluder_share: float  # images with an occluder in train and validation

    def __post_init__(self):
        require(
            self.source in SOURCES,
            f"`data.source` must be one of {', '.join(SOURCES)}; got {self.source!r}",
        )
        counts = [f.name for f in dataclasses.fields(self) if f.type in (int, "int")]
        _positive("data", self, "frames_per_second", *counts)
        _share("data", self, "train_occluder_share")
        shared = sorted(self.train_cameras.places & self.test_cameras.places)
        require(
            not shared,
            "`data.test_cameras` must stand where no train camera stands; "
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

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    beta2: float
    warmup_steps: int
    clip_norm: float
    ema_decay: float  # 0 keeps no average
    checkpoint_every: int  # steps

    def __post_init__(self):
        names = ("epochs", "batch_size", "learning_rate", "clip_norm", "checkpoint_every")
        _positive("optimizer", self, *names)
        _below_one("optimizer", self, "beta2", "ema_decay")
        _not_negative("optimizer", self, "weight_decay", "warmup_steps")


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder: VitPose weights from outside, or a small one that we train."""

    backbone: str  # one of BACKBONES
    checkpoint: str  # vitpose: a checkpoint name or a local folder; small: empty
    patch_size: int
    width: int
    layers: int
    heads: int
    heatmap_sigma: float  # heatmap cells
    cache_features: bool  # compute the training images' features once, for stage 2
    optimizer: OptimizerConfig

    def __post_init__(self):
        require(
            self.backbone in BACKBONES,
            f"`encoder.backbone` must be one of {', '.join(BACKBONES)}; got {self.backbone!r}",
        )
        require(
            (self.backbone == "vitpose") == bool(self.checkpoint),
            "`encoder.checkpoint` must be given for backbone vitpose and empty for small; "
            f"got {self.checkpoint!r} with {self.backbone}",
        )
        _positive("encoder", self, "width", "layers", "heads", "heatmap_sigma")
        require(  # with VitPose's padding of 2, smaller patches give another grid
            self.backbone == "vitpose" or self.patch_size >= 5,
            f"`encoder.patch_size` must be at least 5; got {self.patch_size}",
        )
        require(
            self.width % self.heads == 0,
            f"`encoder.width` must be a multiple of heads = {self.heads}; got {self.width}",
        )


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of the tokenizer; the paper's are 100 tokens, levels [7, 5, 5, 5, 5], width 2048."""

    num_tokens: int  # N
    levels: tuple[int, ...]  # L_i; their product is C
    width: int  # D of the encoder
    encoder_blocks: int
    decoder_width: int
    decoder_blocks: int
    local_joints: int  # X; 1 means no shift
    neighbours: str  # one of NEIGHBOURS: where Joint Shift takes features from
    start_at_joints: bool  # training begins with each token at one joint
    mlp_ratio: float = 1.0  # hidden width of the channel MLP; the paper is silent, PCT has 1
    num_joints: int = NUM_JOINTS  # J

    def __post_init__(self):
        object.__setattr__(self, "levels", tuple(self.levels))
        counts = [f.name for f in dataclasses.fields(self) if f.type in (int, "int")]
        _positive("tokenizer", self, "mlp_ratio", *counts)
        _one_of("tokenizer", self, neighbours=NEIGHBOURS)
        require(
            self.neighbours == "index" or self.num_joints == NUM_JOINTS,
            f"`tokenizer.num_joints` must be {NUM_JOINTS} for neighbours in the skeleton's tree; "
            f"got {self.num_joints}",
        )
        narrowest = min(self.width, self.decoder_width)
        require(
            round(narrowest * self.mlp_ratio) >= 1,
            f"`tokenizer.mlp_ratio` must leave at least 1 of {narrowest} channels; "
            f"got {self.mlp_ratio}",
        )
        check_levels(self.levels)
        require(
            self.num_codes <= MOST_CODES,
            f"`tokenizer.levels` must multiply to at most {MOST_CODES} codes; "
            f"got {list(self.levels)}",
        )
        require(
            self.local_joints % 2 == 1,
            f"`tokenizer.local_joints` must be odd; got {self.local_joints}",
        )
        require(
            self.local_joints <= self.num_joints,
            f"`tokenizer.local_joints` must not exceed num_joints = {self.num_joints}; "
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
    scale_range: float  # and scale them by up to this share
    optimizer: OptimizerConfig

    def __post_init__(self):
        _below_one("tokenizer", self, "scale_range")  # a share of 1 would leave a point


@dataclass(frozen=True)
class DiffusionConfig:
    """Stage 2: the chain, the denoiser's sizes and its training."""

    num_steps: int  # S
    final_occlude_rate: float
    final_replace_rate: float
    aux_weight: float  # λ
    aux_by_step: str  # one of AUX_BY_STEP: λ at every step, or λ · (2 − s / S)
    step_draws: str  # one of STEP_DRAWS: how training draws its steps
    width: int
    layers: int
    heads: int
    precision: str  # float32 or bfloat16
    start_from_codes: bool  # near codes begin with near embeddings and logits
    optimizer: OptimizerConfig

    def __post_init__(self):
        _positive("diffusion", self, "width", "layers", "heads")
        require(  # the notebooks show quarters of the chain
            self.num_steps >= 4, f"`diffusion.num_steps` must be at least 4; got {self.num_steps}"
        )
        _share("diffusion", self, "final_occlude_rate", "final_replace_rate")
        _not_negative("diffusion", self, "aux_weight")
        _one_of("diffusion", self, aux_by_step=AUX_BY_STEP, step_draws=STEP_DRAWS)
        total = self.final_occlude_rate + self.final_replace_rate
        require(
            abs(total - 1) < 1e-9,
            "`diffusion.final_occlude_rate` + `diffusion.final_replace_rate` must be 1; "
            f"got {total}",
        )
        require(
            self.width % self.heads == 0,
            f"`diffusion.width` must be a multiple of heads = {self.heads}; got {self.width}",
        )
        require(
            self.precision in ("float32", "bfloat16"),
            f"`diffusion.precision` must be float32 or bfloat16; got {self.precision!r}",
        )


@dataclass(frozen=True)
class EvaluationConfig:
    """How poses are drawn and how sure we are of their errors."""

    num_hypotheses: int  # H
    num_inference_steps: int
    step_spacing: str  # one of SPACINGS
    step_order: str  # one of ORDERS: which tokens leave Occ first
    batch_size: int  # images
    bootstrap_samples: int

    def __post_init__(self):
        counts = [f.name for f in dataclasses.fields(self) if f.type in (int, "int")]
        _positive("evaluation", self, *counts)
        _one_of("evaluation", self, step_spacing=SPACINGS, step_order=ORDERS)


@dataclass(frozen=True)
class Config:
    """Everything that params.yaml says."""

    scale: str
    seed: int
    data: DataConfig
    encoder: EncoderConfig
    tokenizer: TokenizerStageConfig
    diffusion: DiffusionConfig
    evaluation: EvaluationConfig

    def __post_init__(self):
        require(
            self.scale in SCALES,
            f"`scale` must be one of {', '.join(SCALES)}; got {self.scale!r}",
        )
        require(self.seed >= 0, f"`seed` must not be negative; got {self.seed}")
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
