"""A model whose worst occlusion is known, for the tests of AdvOcc."""

import torch

from di2pose_lib.base.seeding import generator_for

SIZE = (64, 48)


class ToyModel:
    """The pose is right but for joints 3 and 5, off by what is covered around a place.

    Images are black. What is not black in the 15 × 15 pixels around `place` (x, y) moves
    joints 3 and 5 along y, 1 mm a pixel; `noise` adds to it up to so many mm, drawn from the
    image's seed.
    """

    def __init__(self, pose, place, noise=0.0):
        self.pose, self.place, self.noise = pose, place, noise
        self.num_predicted = 0

    def predict(self, images, generator, num_hypotheses):
        self.num_predicted += len(images)
        x, y = self.place
        around = images[:, :, max(0, y - 7) : y + 8, max(0, x - 7) : x + 8]
        covered = (around > 0).any(dim=1).float().sum(dim=(1, 2))
        poses = self.pose.repeat(len(images), num_hypotheses, 1, 1)
        draws = [torch.rand((), generator=generator_for(seed, "toy")) for seed in generator]
        moved = (covered + self.noise * torch.stack(draws)) / 1000
        poses[:, :, 3, 1] += moved[:, None]
        poses[:, :, 5, 1] += moved[:, None]
        return poses


class WhiteTextures:
    """Patches of one grey, never black: shares with the real ones their two methods."""

    identity = "white"

    def draw(self, size, generator):
        level = torch.randint(100, 256, (), generator=generator).item()
        return {"level": level, "size": size}

    def patch(self, record):
        shape = (3, record["size"], record["size"])
        return torch.full(shape, record["level"], dtype=torch.uint8)


def toy_pose(seed=0):
    """A root-relative pose (17, 3), metres."""
    pose = 0.3 * torch.randn(17, 3, generator=torch.Generator().manual_seed(seed))
    pose[0] = 0
    return pose


def toy_joints(seed=0):
    """2D joints (17, 2), pixels, inside an image of `SIZE`."""
    draws = torch.rand(17, 2, generator=torch.Generator().manual_seed(seed))
    return draws * torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0])
