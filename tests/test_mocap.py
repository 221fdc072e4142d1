import dataclasses
import math
import os
from pathlib import Path

import pytest
import torch

from di2pose_lib import bvh, mocap
from di2pose_lib.skeleton import BONES, JOINT_NAMES, NUM_JOINTS, bone_lengths

UNIT = 0.0254 / 0.45  # metres

# Offsets of a made-up body in file units, facing +z, left on +x, y up.
OFFSETS = {
    "UpLeg": (1.5, -2, 0.5),
    "Leg": (1, -7, 0),
    "Foot": (0, -7, 0),
    "ToeBase": (0, 0, 2),
    "Spine": (0, 2, 0),
    "Spine1": (0, 2, 0.25),
    "Neck1": (0, 1.5, 0),
    "Head": (0, 1.5, 0.5),
    "Arm": (3, 1, 0),
    "ForeArm": (5, 0, 0),
    "Hand": (3, 0, 0),
    "HandIndex1": (0.5, 0, 0),
}
ENDS = {"ToeBase": (0, 0, 1), "Head": (0, 2, 0), "HandIndex1": (0.5, 0, 0), "Thumb": (0.5, 0, 0.5)}

ASF = """:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
:bonedata
  begin
     id 1
     name lfemur
     direction {x} {y} 0
     length {thigh}
     axis 0 0 20  XYZ
    limits (-160.0 20.0)
           (-70.0 70.0)
  end
  begin
     name rfemur
     direction -{x} {y} 0
     length {thigh}
  end
  begin
     name thorax
     direction 0 0.6 0.8
     length 2.5
    dof rx ry rz
  end
:hierarchy
  begin
    root lhipjoint
  end
""".format(x=1 / 50**0.5, y=-7 / 50**0.5, thigh=50**0.5)


def offset_of(name, table):
    """The entry for "LeftArm" is that of "Arm"; the right side is mirrored."""
    for part in (name, name.removeprefix("Left"), name.removeprefix("Right"), name[1:]):
        if part in table:
            x, y, z = table[part]
            return (-x if name.startswith("R") else x, y, z)
    return (0, 0, 0)


def cmu_text(rows, frame_time=1 / 120, changed=None):
    """A BVH text of the CMU hierarchy; `rows` map a joint to its three channels."""
    changed = changed or {}
    children = {}
    for name, parent in mocap.HIERARCHY:
        children.setdefault(parent, []).append(name)

    def offset(name, table):
        return "OFFSET " + " ".join(map(str, changed.get(name) or offset_of(name, table)))

    def joint(name, keyword="JOINT"):
        position = "6 Xposition Yposition Zposition" if keyword == "ROOT" else "3"
        inside = [offset(name, OFFSETS), f"CHANNELS {position} Zrotation Yrotation Xrotation"]
        inside += [joint(child) for child in children.get(name, ())]
        if name in mocap.END_SITES:
            inside.append("End Site\n{\n" + offset(name, ENDS) + "\n}")
        return "\n".join([f"{keyword} {name}", "{", *inside, "}"])

    def row(entry):
        numbers = [*entry.get("position", (0, 0, 0))]
        for name, _ in mocap.HIERARCHY:
            numbers += entry.get(name, (0, 0, 0))
        return " ".join(map(str, numbers))

    motion = ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {frame_time}", *map(row, rows)]
    return "\n".join(["HIERARCHY", joint("Hips", "ROOT"), *motion]) + "\n"


@pytest.fixture
def write(tmp_path):
    def put(text, name="01_01.bvh"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


T_POSE = {"position": (500, 500, 500)}  # far away: it must be dropped


def test_the_hierarchy_has_31_joints_7_ends_and_96_channels(write):
    motion = bvh.read_bvh(write(cmu_text([T_POSE])))
    assert len(mocap.HIERARCHY) == 31
    assert len(mocap.END_SITES) == 7
    assert motion.frames.shape == (1, 96)
    mocap.check_hierarchy("x", motion)


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


def test_the_world_is_the_file_turned_and_not_mirrored():
    axes = torch.eye(3, dtype=torch.float64)
    turned = mocap.to_world(axes)
    assert torch.linalg.det(turned).item() == 1
    assert turned[1].tolist() == [0, 0, 1]  # up
    assert turned[2].tolist() == [0, -1, 0]  # the T-pose's front
    assert turned[0].tolist() == [1, 0, 0]  # its left


def test_a_turned_joint_moves_its_own_limb_alone_and_keeps_all_lengths(write):
    rows = [T_POSE, {}, {"LeftLeg": (0, 0, 90)}, {"RightForeArm": (10, 80, -40)}]
    joints = mocap.read_trial(write(cmu_text(rows, frame_time=1))).joints
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
    rows = [T_POSE] + [{}] * 20 + [bent] * 5 + [{}] * 20 + [bent] * 12
    recording = mocap.read_trial(write(cmu_text(rows)))
    assert recording.jumps == (19, 24, 44)
    assert recording.frame.tolist() == [*range(20), *range(25, 57)]
    # 5 frames (0.04 s) between jumps are gone; 20 (0.17 s) stay, as does the end.
    assert recording.segment.tolist() == [0] * 20 + [1] * 20 + [2] * 12
    assert len(recording.joints) == 52
    slow = mocap.read_trial(write(cmu_text(rows, frame_time=0.1)))
    assert slow.jumps == ()  # the same leap in a tenth of a second is a motion
    assert len(slow.frame) == 57


def test_flickering_fingertips_are_no_jump(write):
    rows = [T_POSE, *[{}, {"LeftFingerBase": (0, 90, 0), "LThumb": (0, 90, 0)}] * 3]
    text = cmu_text(rows, changed={"LeftHandIndex1": (5, 0, 0)})
    assert mocap.read_trial(write(text)).jumps == ()


def test_subsampling_takes_the_nearest_recorded_frames_of_each_segment(write):
    rows = [T_POSE] + [{"position": (index / 10, 0, 0)} for index in range(240)]
    rows += [{"position": (100 + index / 10, 0, 0)} for index in range(30)]
    recording = mocap.read_trial(write(cmu_text(rows, frame_time=0.0083333)))
    assert recording.jumps == (239,)
    tenth = mocap.subsample(recording, 10)
    assert tenth.frame.tolist() == [*range(0, 240, 12), 240, 252, 264]
    assert tenth.segment.tolist() == [0] * 20 + [1] * 3
    assert tenth.frame_rate == pytest.approx(10)
    assert torch.equal(tenth.joints, recording.joints[tenth.frame])
    # 50 a second out of 120: every 2.4th, rounded.
    assert mocap.subsample(recording, 50).frame[:6].tolist() == [0, 2, 5, 7, 10, 12]
    assert torch.equal(mocap.subsample(recording, 120).frame, recording.frame)


@pytest.mark.parametrize("rate", [0, -1, 125, math.nan, math.inf])
def test_a_frame_rate_that_the_recording_lacks_is_refused(write, rate):
    recording = mocap.read_trial(write(cmu_text([T_POSE, {}], frame_time=0.0083333)))
    with pytest.raises(ValueError, match=r"`frame_rate` must lie in \(0, 120\]; got"):
        mocap.subsample(recording, rate)


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


def test_joints_in_another_number_or_place_are_refused(write):
    motion = bvh.read_bvh(write(cmu_text([T_POSE])))

    def check(names, parents):
        mocap.check_hierarchy("x.bvh", dataclasses.replace(motion, names=names, parents=parents))

    check(motion.names, motion.parents)
    with pytest.raises(ValueError, match="x.bvh must have .* hierarchy of 31 joints; got 32"):
        check((*motion.names, "Tail"), (*motion.parents, 0))
    with pytest.raises(ValueError, match="x.bvh must have .* hierarchy of 31 joints; got 30"):
        check(motion.names[:-1], motion.parents[:-1])
    with pytest.raises(ValueError, match="joint RThumb on RightHand; got 'RThumb' on Hips"):
        check(motion.names, (*motion.parents[:-1], 0))


def test_repair_leaves_the_motion_it_was_given_alone(write):
    motion = bvh.read_bvh(write(cmu_text([T_POSE])))
    before = motion.offsets.clone()
    repaired = mocap.repair("x", motion)
    assert torch.equal(motion.offsets, before)
    changed = (repaired.offsets != before).any(dim=1).nonzero()[:, 0].tolist()
    assert {motion.names[index] for index in changed} == {
        *("Neck", "LeftShoulder", "RightShoulder"),
        *("LeftFingerBase", "RightFingerBase", "LThumb", "RThumb"),
    }


def test_the_bones_of_a_skeleton_file_are_direction_times_length(write):
    bones = mocap.read_asf(write(ASF, "01.asf"))
    assert set(bones) == {"lfemur", "rfemur", "thorax"}
    assert bones["thorax"].tolist() == pytest.approx([0, 1.5, 2])
    assert bones["rfemur"].tolist() == pytest.approx([-1, -7, 0])


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "length 0.45",
            "length 1.0",
            "line 4: wanted the length unit 0.45 of the BVH files; got 1",
        ),
        ("  length 0.45\n", "", "line 31: wanted a 'length' under ':units'; got none"),
        ("name thorax", "name chest", "line 32: wanted a bone named 'thorax'; got none"),
        ("name rfemur", "name lfemur", "line 22: wanted each bone once; got 'lfemur' again"),
        ("0 0.6 0.8", "0 0.6", r"line 25: wanted 3 number\(s\) after 'direction'; got 2"),
        ("0 0.6 0.8", "0 0.6 up", "line 25: wanted direction to be a number; got 'up'"),
        ("0 0.6 0.8", "0 0.6 nan", "line 25: wanted direction to be finite.*; got 'nan'"),
        ("0 0.6 0.8", "0 6 8", "line 25: wanted a unit direction; got length 10"),
        ("length 2.5", "length -2.5", "line 26: wanted a positive length; got -2.5"),
        ("length 2.5", "length", r"line 26: wanted 1 number\(s\) after 'length'; got 0"),
        ("     length 2.5\n", "", "line 27: wanted a 'length' before 'end'; got none"),
        ("name thorax", "name the thorax", "line 24: wanted one name; got 2"),
        ("rx ry rz\n  end\n", "rx ry rz\n", "line 28: wanted 'end' of a bone; got ':hierarchy'"),
        (
            "  end\n  begin\n     name t",
            "  begin\n     name t",
            "line 22: wanted 'end' of the bone before; got 'begin'",
        ),
        ("  begin\n     name r", "     name r", "line 21: wanted 'begin' of a bone; got 'end'"),
    ],
)
def test_a_malformed_skeleton_file_is_refused_with_its_line(write, old, new, match):
    assert old in ASF
    path = write(ASF.replace(old, new, 1), "01.asf")
    with pytest.raises(ValueError, match=match):
        mocap.read_asf(path)


def test_a_skeleton_cut_short_or_of_someone_else_is_refused(write):
    path = write(cmu_text([T_POSE, {}]))
    with pytest.raises(ValueError, match="line 27: wanted 'end' of a bone; got the end of the"):
        mocap.read_asf(write(ASF[: ASF.index("  end\n:hierarchy")], "01.asf"))
    with pytest.raises(ValueError, match="01.asf must be a file; got a path where nothing is"):
        mocap.read_trial(path, path.parent / "folder" / "01.asf")
    other = write(ASF.replace(f"length {50**0.5}", "length 7.2", 1), "02.asf")
    with pytest.raises(
        ValueError, match="be the skeleton of .*02.asf, whose lfemur is 7.28 mm off"
    ):
        mocap.read_trial(path, other)


@pytest.mark.parametrize(
    ("description", "action"),
    [
        ("walk", "walk"),
        ("slow walk/stride", "walk"),
        ("run/jog", "run"),
        ("run, leap", "run"),
        ("jump up and down, hop on one foot", "jump"),
        ("playground - forward jumps, turn around", "playground"),
        ("Static dance pose - folded in", "dance"),
        ("dance - sideways steps, jumps, a run", "dance"),
        ("bend over, scoop up, rise, lift arm", "other"),
        ("trunk turns, sidewalk", "other"),
        ("", "other"),
    ],
)
def test_the_action_is_told_by_the_first_word_of_the_rule(description, action):
    assert mocap.action_of(description) == action
    assert action in mocap.ACTIONS


COLUMNS = "split,subject,trial,description,frames_with_t_pose,frame_time_s,bytes,path"
TRIAL = "train,01,01_01,{},3,0.0083333,1,bvh/01/01_01.bvh"


def index(write, *rows, columns=COLUMNS):
    write("", "data/bvh/01/01_01.bvh")
    write("", "data/bvh/05/05_01.bvh")
    return write("\n".join([columns, *rows]) + "\n", "data/INDEX.csv").parent


def test_the_index_lists_trials_with_their_files_and_skeletons(write):
    root = index(
        write, TRIAL.format('"walk, turn"'), "test,05,05_01,dance,9,0.0083333,1,bvh/05/05_01.bvh"
    )
    write("", "data/asf/05.asf")
    first, second = mocap.read_index(root)
    assert first == mocap.Trial(
        split="train",
        subject="01",
        name="01_01",
        description="walk, turn",
        action="walk",
        num_frames=2,
        path=root / "bvh/01/01_01.bvh",
        asf=None,
    )
    assert (second.split, second.action, second.num_frames) == ("test", "dance", 8)
    assert second.asf == root / "asf/05.asf"
    assert mocap.read_index(str(root)) == (first, second)


WALK = TRIAL.format("walk")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], "line 2: wanted at least one trial; got the end of the file"),
        ([WALK.replace("train", "dev")], "line 2: wanted a split of train, .*; got 'dev'"),
        ([WALK, WALK], "line 3: wanted each trial once; got 01_01 again"),
        (
            [WALK, WALK.replace("01_01,", "01_02,").replace("train", "test")],
            "line 3: wanted subject 01 in one split; got train and test",
        ),
        ([WALK.replace(",01,", ",02,")], "line 2: wanted a trial named after its subject '02'"),
        ([WALK.replace(",3,", ",1,")], "line 2: wanted frames_with_t_pose of at least 2; got '1'"),
        ([WALK.replace(",3,", ",many,")], "frames_with_t_pose of at least 2; got 'many'"),
        ([WALK.replace("01_01.bvh", "x.bvh")], "the path of a file inside .*; got 'bvh/01/x.bvh'"),
        ([WALK.replace("bvh/01/", "../data/../")], "the path of a file inside .*; got '../data"),
        ([WALK.replace("bvh/01/01_01.bvh", "")], "the path of a file inside .*; got ''"),
        ([WALK + ",more"], "line 2: wanted 8 columns; got another number"),
        (["train,01,01_01"], "line 2: wanted 8 columns; got another number"),
    ],
)
def test_a_wrong_index_is_refused_with_its_line(write, rows, match):
    root = index(write, *rows)
    write("", "01_01.bvh")  # beside the data folder, out of bounds
    with pytest.raises(ValueError, match=match) as refusal:
        mocap.read_index(root)
    assert str(refusal.value).startswith(str(root / "INDEX.csv"))


def test_a_missing_folder_index_or_column_is_refused(write, tmp_path):
    with pytest.raises(ValueError, match="`root` must be a folder with INDEX.csv .*; got /none"):
        mocap.read_index("/none")
    with pytest.raises(ValueError, match="INDEX.csv must be a file; got a path where nothing is"):
        mocap.read_index(tmp_path)
    root = index(write, WALK, columns=COLUMNS.replace("split", "fold").replace("path", "file"))
    with pytest.raises(ValueError, match="line 1: wanted the columns .*; got none named split, p"):
        mocap.read_index(root)


# What one-frame jumps the database's trials are known to hold, frames from 0 after the T-pose.
KNOWN_JUMPS = {"05_10": (243, 252), "05_13": (730,), "08_01": ()}


def real_root():
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "cmu"
    root = Path(os.environ.get("DI2POSE_MOCAP_ROOT", beside))
    if not (root / "INDEX.csv").is_file():
        pytest.skip(
            "no motion capture: DI2POSE_MOCAP_ROOT names no folder with INDEX.csv, and "
            "../shared/data/cmu is not there"
        )
    return root


def test_real_trials_have_rigid_bones_of_human_length_and_the_known_jumps():
    trials = {trial.name: trial for trial in mocap.read_index(real_root())}
    for name, jumps in KNOWN_JUMPS.items():
        trial = trials[name]
        motion = mocap.repair(trial.path, bvh.read_bvh(trial.path))
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


def test_an_unrepaired_real_trunk_would_be_too_short():
    trial = next(trial for trial in mocap.read_index(real_root()) if trial.name == "08_01")
    motion = bvh.read_bvh(trial.path)
    motion = dataclasses.replace(motion, frames=motion.frames[1:])
    fixed = mocap.read_trial(trial.path, trial.asf).joints
    raw = mocap.to_world(mocap.retarget(*bvh.forward_kinematics(motion))) * UNIT
    spine_thorax = BONES.index((7, 8))
    gap = (bone_lengths(fixed) - bone_lengths(raw)).mean(0)[spine_thorax].item()
    assert 0.09 < gap < 0.14
