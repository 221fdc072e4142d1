"""Stage 01: clips of motion to a prepared data set, seen by cameras and rendered."""

from itertools import islice

import torch

from di2pose_lib.base.progress import Progress
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.data.appearance import sample_appearance, sample_occluders
from di2pose_lib.data.camera import crop_intrinsics, look_at, project, ring_positions, to_camera
from di2pose_lib.data.dataset import SPLITS, SplitWriter, check_disjoint
from di2pose_lib.data.render import render

FRAMES_AT_ONCE = 1024  # about so many, which bounds the memory of a rendering batch


def film_clips(clips, first_sequence, cameras, image_size, occluder_share, seed, draws):
    """Rows of the data set for clips: a camera and an appearance each, then the renderer.

    Args:
        clips: list of `sources.Clip`.
        first_sequence: number of the first clip.
        cameras: a `config.CameraRing`; each clip is seen by one of its cameras.
        image_size: (H, W) in pixels.
        occluder_share: share of images with an occluder, in [0, 1].
        seed: int.
        draws: name of the split for the random draws; two splits of the same name
            get the same cameras and appearances.

    Returns:
        dict of tensors, one row a frame, for `SplitWriter.write` but for the numbers of
        subjects and actions.
    """
    lengths = torch.tensor([len(clip.joints) for clip in clips])
    clip_of_frame = torch.repeat_interleave(torch.arange(len(clips)), lengths)
    generator = generator_for(seed, "data", draws, first_sequence)
    ring = ring_positions(cameras.azimuths_deg, cameras.radius, cameras.height)
    camera = torch.randint(len(ring), (len(clips),), generator=generator)[clip_of_frame]
    world = torch.cat([clip.joints for clip in clips]).double()
    position = ring[camera]
    rotation = look_at(position, world[:, 0])  # cameras pan: the pelvis is on the axis
    joints = to_camera(world, position, rotation).float()
    intrinsics = crop_intrinsics(joints, image_size)
    appearance = sample_appearance(len(clips), generator).index(clip_of_frame)
    occluders = None
    if occluder_share > 0:
        draw = generator_for(seed, "occluders", draws, first_sequence)
        points = project(joints, intrinsics)
        occluders = sample_occluders(points, image_size, draw, clear_share=1 - occluder_share)
    picture = render(joints, intrinsics, appearance, image_size, occluders=occluders)
    return {
        "image": picture.images,
        "pose": joints - joints[:, :1],
        "root": joints[:, 0],
        "joints_2d": picture.joints_2d,
        "visible": picture.visible,
        "covered": picture.covered,
        "intrinsics": intrinsics,
        "camera_rotation": rotation.float(),
        "camera_position": position.float(),
        "camera": camera.short(),
        "sequence": (first_sequence + clip_of_frame).int(),
        "recording": torch.tensor([clip.recording for clip in clips])[clip_of_frame].int(),
        "frame": torch.cat([clip.frames for clip in clips]).int(),
    }


def prepare_split(folder, split, source, config, seed):
    """Write one of `SPLITS` to `folder` in the data set's format.

    Args:
        folder: does not exist yet.
        split: a key of `SPLITS`.
        source: a `sources.Source`.
        config: a `DataConfig`.
        seed: int.
    """
    of_source, occluder_share = SPLITS[split]
    if occluder_share is None:
        occluder_share = config.train_occluder_share
    num_sequences = getattr(config, f"{of_source}_sequences")
    test = of_source == "test"
    num_frames = config.test_frames_per_sequence if test else config.frames_per_sequence
    cameras = config.test_cameras if test else config.train_cameras
    subjects, actions = list(source.subjects(of_source)), list(source.actions)
    meta = {"source": config.source, "split": split, "subjects": subjects, "actions": actions}
    writer = SplitWriter(folder, num_sequences * num_frames, config.image_size, meta)
    clips = source.clips(of_source, num_sequences, num_frames, config.frames_per_second, seed)
    clips_at_once = -(-FRAMES_AT_ONCE // num_frames)
    progress = Progress(f"{split} images", writer.size)
    sequence = 0
    while group := list(islice(clips, clips_at_once)):
        rows = film_clips(
            group, sequence, cameras, config.image_size, occluder_share, seed, of_source
        )
        for name, names in (("subject", subjects), ("action", actions)):
            numbers = torch.tensor([names.index(getattr(clip, name)) for clip in group])
            rows[name] = numbers.repeat_interleave(num_frames).short()
        writer.write(**rows)
        sequence += len(group)
        progress.tick(writer.written)
    progress.report(writer.written, {})
    writer.close()


def prepare_dataset(folder, source, config, seed):
    """Write every split under `folder`; refuses splits of the source that share a subject."""
    check_disjoint(**{split: source.subjects(split) for split in ("train", "validation", "test")})
    for split in SPLITS:
        prepare_split(folder / split, split, source, config, seed)
