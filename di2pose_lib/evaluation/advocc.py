"""Adversarial occlusion (AdvOcc): the patch that hurts a model most, for each image.

After 3DNBF. A textured patch is pasted, opaque, at every position of a `PatchGrid`. Joints
strictly under it, or outside the image, do not count: neither in the error nor in Procrustes'
fit, which is `metrics.pa_mpjpe_mm` with its joint mask. The pelvis of prediction and truth is
aligned for MPJPE even where it is hidden. The worst position is that of the largest error,
for each image and separately for each metric. The attacked model is the one evaluated;
`replay` with another one is a transfer attack.

**Draws.** Texture and prediction are random, and a maximum over random errors is too large:
it picks luck with the position. So each position's error is the mean of several draws before
the maximum is taken, and the found position is drawn anew: the mean of these fresh errors has no
such luck in it. But it is of the position that was found, which need not be the worst: on average
the worst position's error lies between the two, fresh below and found above. What is drawn
depends on seed, patch, image, position and the draw's number alone: not on the model, so
models are compared on the same patches, nor on the order of the search.

**Bits.** The errors stored of a worst case are computed from its own pictures alone, and so
does `replay`: the same record gives the same bits, with as many threads on the same machine.
"""

import hashlib
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.metrics import mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.base.seeding import generator_for, seed_for
from di2pose_lib.evaluation.models import IMAGES, predicted
from di2pose_lib.evaluation.patch_grid import counted_joints, paste

METRICS = {"mpjpe_mm": mpjpe_mm, "pa_mpjpe_mm": pa_mpjpe_mm}
PICTURES_AT_ONCE = 128


class Target(NamedTuple):
    """An image that is attacked, and its truth."""

    number: int
    """Which image of its split: the draws depend on it."""
    image: torch.Tensor
    """uint8 (3, h, w)."""
    pose: torch.Tensor
    """float (J, 3), root-relative, metres."""
    joints_2d: torch.Tensor
    """float (J, 2), pixels."""

    @property
    def digest(self):
        """SHA-256 of the image's pixels."""
        return hashlib.sha256(self.image.contiguous().numpy().tobytes()).hexdigest()


def target(dataset, row):
    """The `Target` of one row of a `PoseDataset`."""
    rows = torch.tensor([row])
    image, pose, joints = (dataset.take(name, rows)[0] for name in ("image", "pose", "joints_2d"))
    return Target(int(row), image, pose, joints)


class Attack:
    """One patch size against one model.

    Args:
        model: an object whose `predict` takes images, as `models` says; one hypothesis is taken.
        textures: `PictureTextures` or `PatternTextures` of the images' height.
        grid: a `PatchGrid` of the images' size.
        seed: int.
        draws: D ≥ 1, textures and predictions of a position that are averaged.
        fresh_draws: F ≥ 1, more of them for the position found.

    Raises:
        ValueError: D or F < 1.
    """

    def __init__(self, model, textures, grid, seed, draws=1, fresh_draws=1):
        for name, count in (("draws", draws), ("fresh_draws", fresh_draws)):
            require(count >= 1, f"`{name}` must be at least 1; got {count}")
        self.model, self.textures, self.grid, self.seed = model, textures, grid, seed
        self.draws, self.fresh_draws = draws, fresh_draws

    def draw(self, number, position, draw):
        """The record of a draw: corner, texture and the prediction's seed, for JSON."""
        keys = (self.grid.name, number, position, draw)
        texture = self.textures.draw(
            self.grid.patch, generator_for(self.seed, "AdvOcc texture", *keys)
        )
        corner = list(self.grid.corner(position))
        prediction = seed_for(self.seed, "AdvOcc prediction", *keys)
        return {"corner": corner, "texture": texture, "seed": prediction}

    def position_errors(self, target, positions):
        """Mean error over D draws, float64 (n, M), mm, at n positions, for `METRICS`.

        −∞ where the patch leaves no joint: such a position is never the worst.
        """
        per_position = []
        at_once = max(1, PICTURES_AT_ONCE // self.draws)
        for first in range(0, len(positions), at_once):
            some = positions[first : first + at_once]
            draws = [self.draw(target.number, p, d) for p in some for d in range(self.draws)]
            errors = drawn_errors(self.model, self.textures, target, draws)
            per_position.append(errors.view(len(some), self.draws, -1).mean(dim=1))
        return torch.cat(per_position)

    def worst(self, target, position, metric):
        """The record of a position found to be the worst in `metric`, for JSON.

        Its errors in mm: of each draw, their mean, and the mean of F fresh draws.
        """
        numbers = range(self.draws + self.fresh_draws)
        draws = [self.draw(target.number, position, d) for d in numbers]
        column = list(METRICS).index(metric)
        searched = drawn_errors(self.model, self.textures, target, draws[: self.draws])
        fresh = drawn_errors(self.model, self.textures, target, draws[self.draws :])
        return {
            "position": position,
            "error_mm": searched[:, column].mean().item(),
            "fresh_mm": fresh[:, column].mean().item(),
            "draws_mm": searched[:, column].tolist(),
            "draws": draws[: self.draws],
        }

    def attack(self, target, search):
        """Attack one image.

        Args:
            target: a `Target` of the grid's size.
            search: one of `advocc_search`'s functions.

        Returns:
            a dict for JSON: `image`, `image_sha256`, `clean_mm` {metric: error without a
            patch}, `worst` {metric: a record of `worst`}, `errors_mm` {metric: a list, one
            error a position, None where none was computed}.

        Raises:
            ValueError: an image of another size than the grid's, or without a joint in it.
        """
        check_tensor(f"image {target.number}", target.image, (3, *self.grid.image_size), "uint8")
        table = search(lambda positions: self.position_errors(target, positions), self.grid)
        left = bool((table.amax(dim=0) > -torch.inf).all())
        require(
            left,
            f"image {target.number} must have a joint that the patch leaves visible; got none",
        )
        seeds = [
            seed_for(self.seed, "AdvOcc clean", target.number, draw) for draw in range(self.draws)
        ]
        clean = clean_errors(self.model, target, seeds).mean(dim=0)
        worst = table.argmax(dim=0).tolist()
        return {
            "image": target.number,
            "image_sha256": target.digest,
            "clean_mm": dict(zip(METRICS, clean.tolist(), strict=True)),
            "worst": {
                metric: self.worst(target, position, metric)
                for metric, position in zip(METRICS, worst, strict=True)
            },
            "errors_mm": {
                metric: [round(e, 4) if e > -torch.inf else None for e in errors.tolist()]
                for metric, errors in zip(METRICS, table.T, strict=True)
            },
        }


def pictures(textures, target, draws):
    """Rebuild the pictures of draws' records from one `Target`: uint8 (n, 3, h, w)."""
    patches = torch.stack([textures.patch(draw["texture"]) for draw in draws])
    return paste(target.image, patches, [draw["corner"] for draw in draws])


def drawn_errors(model, textures, target, draws):
    """Errors float64 (n, M), mm, of records of draws, for `METRICS`; −∞ without a joint."""
    corners = [draw["corner"] for draw in draws]
    size = draws[0]["texture"]["size"]
    counted = counted_joints(target.joints_2d, corners, size, target.image.shape[1:])
    seeds = [draw["seed"] for draw in draws]
    return _errors(model, pictures(textures, target, draws), target.pose, seeds, counted)


def clean_errors(model, target, seeds):
    """Errors float64 (n, M), mm, without a patch, over the joints in the image."""
    nowhere = counted_joints(target.joints_2d, [(0, 0)], 0, target.image.shape[1:])
    images = target.image.repeat(len(seeds), 1, 1, 1)
    return _errors(model, images, target.pose, seeds, nowhere.expand(len(seeds), -1))


def _errors(model, images, pose, seeds, counted):
    poses = predicted(model.predict, images, seeds, 1, IMAGES)[:, 0]
    some = counted.any(dim=1)
    errors = torch.full((len(images), len(METRICS)), -torch.inf, dtype=torch.float64)
    if some.any():
        truth = pose.expand(int(some.sum()), -1, -1)
        each = [metric(poses[some], truth, counted[some]) for metric in METRICS.values()]
        errors[some] = torch.stack(each, dim=1)
    return errors


def replay(model, textures, target, record, metric):
    """A stored worst case again: (pictures uint8 (D, 3, h, w), errors in mm, a list of D).

    With the model that was attacked, the errors are the record's `draws_mm`: to the bit on
    the machine that made it, to float32's rounding on others. With another model, or with
    networks that were trained anew on another machine, this is a transfer attack.

    Args:
        model, textures, target: as in the attack.
        record: of `Attack.attack`.
        metric: a key of `METRICS`, whose worst case it is.

    Raises:
        ValueError: another image than the record's, or a texture's file that is not the one
            that was drawn.
    """
    require(
        target.digest == record["image_sha256"],
        f"`target` must be image {record['image']} as it was attacked; got another picture",
    )
    worst = record["worst"][metric]
    images = pictures(textures, target, worst["draws"])
    errors = drawn_errors(model, textures, target, worst["draws"])
    return images, errors[:, list(METRICS).index(metric)].tolist()
