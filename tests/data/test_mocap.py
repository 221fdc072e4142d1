import dataclasses
import itertools

import pytest
import torch
from cmu_files import ASF, OFFSETS, T_POSE, cmu_text, offset_of

from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, NUM_JOINTS, bone_lengths
from di2pose_lib.data import bvh, mocap, mocap_index, mocap_skeleton
from di2pose_lib.data.sources import mocap_root

UNIT = 0.0254 / 0.45  # metres


def test_the_repaired_rest_pose_is_the_one_worked_out_by_hand(write):
    recording = mocap.read_trial(write(cmu_text([T_POSE, {"position": (1, 20, 3)}])))
    assert recording.joints.dtype == torch.float64
    assert recording.joints.shape == (1, NUM_JOINTS, 3)
    assert (recording.name, recording.thorax, recording.jumps) == ("01_01", "spine1", ())
    chest = (0, 6, 0.5)  # Spine + Spine1 + the lost bone, which repeats Spine1
    in_file = {
        "pelvis": (0, -2, 0.5),
        "left hip": (1.5, -2, 0.5),
        "left knee": (2.5, -9, 0.5),
        "left ankle": (2.5, -16, 0.5),
        "spine": (0, 2, 0),
        "thorax": chest,
        "nose": (0, 6 + 1.5 + 0.75, 0.5 + 0.25),
        "head": (0, 6 + 3 + 2, 0.5 + 0.5),
        "left shoulder": (3, 7, 0.5),
        "left elbow": (8, 7, 0.5),
        "left wrist": (8 + 3 + 1.5, 7, 0.5),  # forearm, then half a hand
    }
    for name in JOINT_NAMES:
        x, y, z = in_file[name.replace("right", "left")]
        x = -x if name.startswith("right") else x
        wanted = torch.tensor([1 + x, -(3 + z), 20 + y], dtype=torch.float64) * UNIT
        torch.testing.assert_close(recording.joints[0, JOINT_NAMES.index(name)], wanted)


def test_the_original_skeleton_gives_the_lost_trunk_bone(write):
    path, asf = write(cmu_text([T_POSE, {}])), write(ASF, "01.asf")
    recording = mocap.read_trial(path, asf)
    assert recording.thorax == "asf"
    thorax = JOINT_NAMES.index("thorax")
    # Spine and Spine1, then 2.5 along (0, 0.6, 0.8), all turned to z up.
    wanted = torch.tensor([0, -(0.25 + 2), 4 + 1.5], dtype=torch.float64) * UNIT
    torch.testing.assert_close(recording.joints[0, thorax], wanted)
    shifted = recording.joints - mocap.read_trial(path).joints
    moved = {JOINT_NAMES[joint] for joint in range(NUM_JOINTS) if shifted[0, joint].norm() > 0}
    assert moved == {name for name in JOINT_NAMES if name in ("thorax", "nose", "head")} | {
        f"{side} {part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")
    }


def test_a_turned_joint_moves_its_own_limb_alone_and_keeps_all_lengths(write):
    rows = [T_POSE, {}, {"LeftLeg": (0, 0, 90)}, {"RightForeArm": (10, 80, -40)}]
    joints = mocap.read_trial(write(cmu_text(rows, frame_time=0.05))).joints
    knee, ankle = JOINT_NAMES.index("left knee"), JOINT_NAMES.index("left ankle")
    # The shin (0, -7, 0) turned by 90 degrees about x points along -z of the file: backwards.
    shin = torch.tensor([0.0, 7, 0], dtype=torch.float64) * UNIT
    torch.testing.assert_close(joints[1, ankle] - joints[1, knee], shin)
    changed = (joints[1:] - joints[0]).norm(dim=-1) > 1e-9
    assert changed[0].nonzero()[:, 0].tolist() == [ankle]
    assert changed[1].nonzero()[:, 0].tolist() == [JOINT_NAMES.index("right wrist")]
    torch.testing.assert_close(bone_lengths(joints), bone_lengths(joints[:1]).expand(3, -1))


def test_a_short_stretch_between_two_jumps_is_dropped_and_the_trial_cut(write):
    bent = {"LeftLeg": (0, 0, 90)}  # the ankle leaps by 0.56 m
    rows = [T_POSE] + [{}] * 68 + [bent] * 5 + [{}] * 20 + [bent] * 7
    recording = mocap.read_trial(write(cmu_text(rows)))
    assert recording.jumps == (67, 72, 92)
    assert recording.frame.tolist() == [*range(68), *range(73, 100)]
    # 5 frames (0.04 s) between jumps are gone; 20 (0.17 s) stay, as does the end.
    assert recording.segment.tolist() == [0] * 68 + [1] * 20 + [2] * 7
    assert len(recording.joints) == 95
    slow = mocap.read_trial(write(cmu_text(rows, frame_time=0.05)))
    assert slow.jumps == ()  # the same leap in a twentieth of a second is a motion
    assert len(slow.frame) == 100
    # 5 of 100 frames are as many as a trial may lose.
    with pytest.raises(
        ValueError, match="01_01.bvh must lose at most 5% of its 99 frames to jumps; got 5 lost"
    ):
        mocap.read_trial(write(cmu_text(rows[:1] + rows[2:])))


def test_flickering_fingertips_are_no_jump(write):
    rows = [T_POSE, *[{}, {"LeftFingerBase": (0, 90, 0), "LThumb": (0, 90, 0)}] * 3]
    text = cmu_text(rows, changed={"LeftHandIndex1": (5, 0, 0)})
    assert mocap.read_trial(write(text)).jumps == ()


def test_a_recording_is_cut_where_it_jumps(write):
    rows = [T_POSE] + [{"position": (index / 10, 0, 0)} for index in range(240)]
    rows += [{"position": (100 + index / 10, 0, 0)} for index in range(30)]
    recording = mocap.read_trial(write(cmu_text(rows, frame_time=0.0083333)))
    assert recording.jumps == (239,)
    first, second = mocap.continuous(recording)
    assert torch.equal(first.frame, recording.frame[:240])
    assert torch.equal(second.frame, recording.frame[240:])
    assert torch.equal(torch.cat([first.joints, second.joints]), recording.joints)
    assert second.segment.unique().tolist() == [1]


def test_another_skeleton_is_refused_by_file_and_joint(write):
    text = cmu_text([T_POSE, {}])

    def refused(text, match):
        path = write(text)
        with pytest.raises(ValueError, match=match) as refusal:
            mocap.read_trial(path)
        assert str(refusal.value).startswith(str(path))

    refused(text.replace("JOINT Spine1", "JOINT Chest"), "joint Spine1 on Spine; got 'Chest' on Sp")
    refused(text.replace("End Site\n{\nOFFSET 0 2 0\n}\n", ""), "End Sites on LeftToeBase.*; got L")
    refused(cmu_text([T_POSE, {}], changed={"Neck": (0, 2, 0)}), "zero OFFSET at Neck, which.*2.0")
    refused(cmu_text([T_POSE, {}], changed={"LThumb": (1, 0, 0)}), "zero OFFSET at LThumb")
    refused(cmu_text([T_POSE, {}], changed={"LeftLeg": (0, -40, 0)}), "0.15 to 0.8 m; got 2.26 m")
    refused(cmu_text([T_POSE]), "must hold frames after the T-pose; got 1 frame")


def turned(*axes):
    """The made-up body with every OFFSET (x, y, z) mapped: "-z" puts −z there."""

    def turn(offset):
        return tuple((-1 if "-" in axis else 1) * offset["xyz".index(axis[-1])] for axis in axes)

    return cmu_text([T_POSE, {}], mapped=turn)


AXES = [
    tuple(sign + axis for sign, axis in zip(signs, order, strict=True))
    for order in itertools.permutations("xyz")
    for signs in itertools.product(("", "-"), repeat=3)
]


@pytest.mark.parametrize("axes", AXES, ids=" ".join)
def test_a_person_in_other_axes_or_mirrored_is_refused(write, axes):
    path = write(turned(*axes))
    if axes == ("x", "y", "z"):
        mocap.read_trial(path)
        return
    with pytest.raises(
        ValueError,
        match="01_01.bvh must rest with the subject's left on .x, up on .y and toes on .z; got the",
    ):
        mocap.read_trial(path)


def test_arms_or_legs_on_the_wrong_side_are_refused(write):
    swap = {
        side + part: offset_of(other + part, OFFSETS)
        for side, other, part in (
            ("Left", "Right", "Arm"),
            ("Right", "Left", "Arm"),
        )
    }
    with pytest.raises(
        ValueError, match="left shoulder at .-0.34, 0.00, 0.00. m from the right sh"
    ):
        mocap.read_trial(write(cmu_text([T_POSE, {}], changed=swap)))


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (2, "1.2 to 2.3 m from ankles to head, counted in 1/0.45 inch; got 3.05 m"),
        (1.6, "1.2 to 2.3 m from ankles to head, counted in 1/0.45 inch; got 2.44 m"),
        (1 / 2.54, "1.2 to 2.3 m from ankles to head, counted in 1/0.45 inch; got 0.6 m"),
        (2.54, "must count in 1/0.45 inch, .*; got 1.01 m"),
        *((factor, "must count in 1/0.45 inch") for factor in (0.01, 0.1, 10, 25.4, 100, 1000)),
    ],
)
def test_a_person_in_other_units_is_refused(write, factor, told):
    def scale(offset):
        return tuple(factor * x for x in offset)

    with pytest.raises(ValueError, match=told):
        mocap.read_trial(write(cmu_text([T_POSE, {}], mapped=scale)))


@pytest.mark.parametrize(
    ("parts", "factor", "told"),
    [
        (("LeftLeg", "LeftFoot"), 1.2, "two legs alike, .*; got 0.953 m on the left and 0.794 m"),
        (("RightLeg",), 0.7, "two legs alike"),
        (("RightForeArm", "RightHand"), 0.8, "two arms alike"),
        (("LeftLeg", "LeftFoot", "RightLeg", "RightFoot"), 0.6, "two legs alike, 0.4 to 0.65 of"),
        (("LeftForeArm", "RightForeArm"), 2.4, "two arms alike, 0.25 to 0.5 of"),
        (("Spine", "Spine1"), 2.5, "two legs alike, 0.4 to 0.65 of"),
    ],
)
def test_a_person_out_of_proportion_is_refused(write, parts, factor, told):
    changed = {part: tuple(factor * x for x in offset_of(part, OFFSETS)) for part in parts}
    with pytest.raises(ValueError, match=f"01_01.bvh must have {told}"):
        mocap.read_trial(write(cmu_text([T_POSE, {}], changed=changed)))


def test_a_t_pose_that_lies_or_looks_backwards_is_refused(write):
    for angles in ((0, 0, 90), (0, 180, 0), (180, 0, 0)):
        with pytest.raises(ValueError, match="01_01.bvh must rest with the subject's left on"):
            mocap.read_trial(write(cmu_text([{"Hips": angles}, {}])))


def test_who_lies_or_stands_on_the_hands_in_the_recording_is_read(write):
    for angles in ((0, 0, 90), (0, 180, 0), (180, 0, 0)):
        rows = [T_POSE, {"Hips": angles}]
        assert len(mocap.read_trial(write(cmu_text(rows))).frame) == 1
        rows = [{"Hips": angles, "LeftArm": (80, 0, 0)}, {}]  # no T-pose: one frame is lost
        assert len(mocap.read_trial(write(cmu_text(rows))).frame) == 1


@pytest.mark.parametrize("frame_time", [1e-6, 0.0019, 0.051, 8.3333, 99999])
def test_a_frame_rate_that_no_recording_has_is_refused(write, frame_time):
    for fine in (0.002, 0.0083333, 0.05):
        rate = mocap.read_trial(write(cmu_text([T_POSE, {}], frame_time=fine))).frame_rate
        assert rate == 1 / fine
    with pytest.raises(
        ValueError,
        match=f"01_01.bvh must have a Frame Time of 0.002 to 0.05 s.*; got {frame_time:g} s",
    ):
        mocap.read_trial(write(cmu_text([T_POSE, {}], frame_time=frame_time)))


@pytest.mark.parametrize(
    ("joint", "offset", "match"),
    [
        ("LeftHand", (0, 0, 0), "left wrist 0.03 to 0.8 m from left elbow; got 0 m"),
        ("RightHand", (-500, 0, 0), "right wrist 0.03 to 0.8 m from right elbow; got 42.3 m"),
        ("LeftForeArm", (0.5, 0, 0), "left elbow .* from left shoulder; got 0.0282 m"),
        ("RightForeArm", (-15, 0, 0), "right elbow .* from right shoulder; got 0.847 m"),
        ("LeftFoot", (0, 0, 0), "left ankle .* from left knee; got 0 m"),
        ("Spine", (0, 20, 0), "spine .* from pelvis; got 1.24 m"),
        ("Spine1", (0, 0, 0), "01_01.bvh must have an OFFSET of Spine1 of 0.03 to 0.8 m; got 0 m"),
        ("Spine1", (0, 20, 0), "an OFFSET of Spine1 of 0.03 to 0.8 m; got 1.13 m"),
    ],
)
def test_a_bone_that_no_person_has_is_refused(write, joint, offset, match):
    with pytest.raises(ValueError, match=match):
        mocap.read_trial(write(cmu_text([T_POSE, {}], changed={joint: offset})))


def test_a_trunk_bone_of_the_skeleton_file_that_no_person_has_is_refused(write):
    path = write(cmu_text([T_POSE, {}]))
    for length, got in (("0.1", "0.00564"), ("25", "1.41")):
        asf = write(ASF.replace("length 2.5", f"length {length}"), "01.asf")
        with pytest.raises(
            ValueError,
            match=f"01_01.bvh must have a thorax bone in its ASF file of .*; got {got} m",
        ):
            mocap.read_trial(path, asf)


@pytest.mark.parametrize("place", [(999999, 0, 0), (0, -999999, 0), (0, 0, 1800)])
def test_a_pelvis_out_of_range_in_one_frame_is_refused_with_the_frame(write, place):
    rows = [T_POSE] + [{}] * 60
    rows[41] = {"position": place}
    with pytest.raises(
        ValueError, match=r"01_01.bvh must keep the pelvis within 100 m .*; got .* m in frame 41,"
    ):
        mocap.read_trial(write(cmu_text(rows)))
    rows[41] = {"position": tuple(number and 1700 for number in place)}  # 96 m: a long walk
    assert len(mocap.read_trial(write(cmu_text(rows))).jumps) == 2


def test_another_number_of_frames_than_the_index_promises_is_refused(write):
    path = write(cmu_text([T_POSE, {}, {}]))
    assert len(mocap.read_trial(path, num_frames=2).frame) == 2
    for wrong in (1, 3):
        with pytest.raises(
            ValueError, match=f"01_01.bvh must hold .* as the index says, {wrong + 1}; got 3"
        ):
            mocap.read_trial(path, num_frames=wrong)


def test_a_missing_skeleton_or_one_of_someone_else_is_refused(write):
    path = write(cmu_text([T_POSE, {}]))
    with pytest.raises(ValueError, match="01.asf does not exist"):
        mocap.read_trial(path, path.parent / "folder" / "01.asf")
    other = write(ASF.replace(f"length {50**0.5}", "length 7.2", 1), "02.asf")
    with pytest.raises(
        ValueError, match="be the skeleton of .*02.asf, whose lfemur is 7.28 mm off"
    ):
        mocap.read_trial(path, other)


# What one-frame jumps the database's trials are known to hold, frames from 0 after the T-pose.
KNOWN_JUMPS = {"05_10": (243, 252), "05_13": (730,), "08_01": ()}


def real_root():
    root = mocap_root()
    if not (root / "INDEX.csv").is_file():
        pytest.skip(
            "no motion capture: DI2POSE_MOCAP_ROOT names no folder with INDEX.csv, and "
            "../shared/data/cmu is not there"
        )
    return root


def test_real_trials_have_rigid_bones_of_human_length_and_the_known_jumps():
    trials = {trial.name: trial for trial in mocap_index.read_index(real_root())}
    for name, jumps in KNOWN_JUMPS.items():
        trial = trials[name]
        motion = mocap_skeleton.repair(trial.path, bvh.read_bvh(trial.path))
        joints, _ = bvh.forward_kinematics(motion)
        parents = [max(parent, 0) for parent in motion.parents]
        lengths = (joints - joints[:, parents]).norm(dim=-1) * UNIT * 1000
        assert (lengths - motion.offsets.norm(dim=-1) * UNIT * 1000)[:, 1:].abs().max() < 1e-6

        recording = mocap.read_trial(trial.path, trial.asf)
        assert recording.jumps == jumps
        assert len(recording.frame) == trial.num_frames - (9 if name == "05_10" else 0)
        assert recording.frame_rate == pytest.approx(120, rel=1e-4)
        assert recording.thorax == ("spine1" if trial.asf is None else "asf")
        lengths = dict(zip(BONES, bone_lengths(recording.joints).mean(0).tolist(), strict=True))
        assert 0.2 < lengths[7, 8] < 0.28  # spine to thorax; 0.12 without the repair
        assert 0.2 < lengths[12, 13] < 0.33  # left forearm
        assert 0.35 < lengths[1, 2] < 0.5  # right thigh
        pelvis, head = recording.joints[:, 0, 2], recording.joints[:, 10, 2]
        assert (head - pelvis).mean() > 0.4  # upright
        assert -0.1 < recording.joints[:, (3, 6), 2].min() < 0.15  # ankles near the floor


def test_everybody_in_the_database_stands_at_rest(write):
    subjects = {trial.subject: trial for trial in mocap_index.read_index(real_root())}
    assert len(subjects) >= 13
    for trial in subjects.values():
        header, frames = trial.path.read_text().split("Frames:")
        _, frame_time, t_pose, first, *_ = frames.split("\n")
        few = "\n".join(["2", frame_time, t_pose, first])
        mocap.read_trial(write(f"{header}Frames: {few}"), trial.asf)


def test_an_unrepaired_real_trunk_would_be_too_short():
    trial = next(trial for trial in mocap_index.read_index(real_root()) if trial.name == "08_01")
    motion = bvh.read_bvh(trial.path)
    motion = dataclasses.replace(motion, frames=motion.frames[1:])
    fixed = mocap.read_trial(trial.path, trial.asf).joints
    raw = mocap_skeleton.to_world(mocap_skeleton.retarget(*bvh.forward_kinematics(motion))) * UNIT
    spine_thorax = BONES.index((7, 8))
    gap = (bone_lengths(fixed) - bone_lengths(raw)).mean(0)[spine_thorax].item()
    assert 0.09 < gap < 0.14
