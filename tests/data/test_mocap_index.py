import pytest

from di2pose_lib.data import mocap_index


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
    assert mocap_index.action_of(description) == action
    assert action in mocap_index.ACTIONS


COLUMNS = "split,subject,trial,description,frames_with_t_pose,frame_time_s,bytes,path"
TRIAL = "train,01,01_01,{},3,0.0083333,1,bvh/01/01_01.bvh"


OTHERS = (
    "validation,16,16_01,run,5,0.0083333,1,bvh/16/16_01.bvh",
    "test,05,05_01,dance,9,0.0083333,1,bvh/05/05_01.bvh",
)


def index(write, *rows, columns=COLUMNS):
    write("", "data/bvh/01/01_01.bvh")
    write("", "data/bvh/05/05_01.bvh")
    write("", "data/bvh/16/16_01.bvh")
    return write("\n".join([columns, *rows]) + "\n", "data/INDEX.csv").parent


def test_the_index_lists_trials_with_their_files_and_skeletons(write, capsys):
    root = index(write, TRIAL.format('"walk, turn"'), *OTHERS)
    mocap_index.read_index(root)
    assert capsys.readouterr().err == "", "nobody has a skeleton: that is one way to have them"
    write("", "data/asf/05.asf")
    first, second, third = mocap_index.read_index(root)
    assert "asf has no skeleton of subjects 01, 16: their bone" in capsys.readouterr().err
    assert first == mocap_index.Trial(
        split="train",
        subject="01",
        name="01_01",
        action="walk",
        num_frames=2,
        path=root / "bvh/01/01_01.bvh",
        asf=None,
    )
    assert (second.split, second.action, second.asf) == ("validation", "run", None)
    assert (third.split, third.action, third.num_frames) == ("test", "dance", 8)
    assert third.asf == root / "asf/05.asf"
    assert mocap_index.read_index(str(root)) == (first, second, third)


WALK = TRIAL.format("walk")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([], "line 2: wanted at least one trial; got the end of the file"),
        ([WALK.replace("train", "dev")], "line 2: wanted a split of train, .*; got 'dev'"),
        ([WALK, WALK], "line 3: wanted each trial once; got '01_01' again"),
        (
            [WALK, OTHERS[1].replace("05,05_01", "01,01_02")],
            "line 3: wanted subject 01 in one split; got train and test",
        ),
        (
            [WALK, WALK.replace("01_01,", "01_02,")],
            "line 3: wanted each file once; got 'bvh/01/01_01.bvh' again",
        ),
        (
            [WALK, WALK.replace("01,01_01", "02,02_01").replace("train", "test")],
            "line 3: wanted each file once; got 'bvh/01/01_01.bvh' again",
        ),
        (
            [
                WALK,
                OTHERS[1]
                .replace("05,05_01", "02,02_01")
                .replace("bvh/05/05_01.bvh", "bvh/05/../01/01_01.bvh"),
            ],
            "line 3: wanted each file once; got 'bvh/05/../01/01_01.bvh' again",
        ),
        (
            [WALK, OTHERS[1].replace("05,05_01", "1,1_01")],
            "line 3: wanted one spelling of a subject, '01' as before; got '1'",
        ),
        (
            [WALK.replace("01,01_01", "a1,a1_01"), OTHERS[1].replace("05,05_01", "A1,A1_01")],
            "line 3: wanted one spelling of a subject, 'a1' as before; got 'A1'",
        ),
        *(
            (
                [WALK.replace("01,01_01", f"{subject},{subject}_01")],
                f"line 2: wanted a subject of the letters and digits .*; got '{subject}'",
            )
            for subject in (" 01", "../x", "", "\u0661")
        ),
        ([WALK, OTHERS[0]], "line 3: wanted trials of each of train, .* and none of test"),
        ([WALK, OTHERS[1]], "line 3: wanted trials of each of train, .* and none of validation"),
        ([*OTHERS], "line 3: wanted trials of each of train, .* and none of train"),
        ([WALK, "\r".join(OTHERS)], "line 3: wanted comma-separated values; got new-line"),
        ([WALK, OTHERS[0] + "\0"], "line 3: wanted text; got a NUL character"),
        (
            [WALK, TRIAL.format("x" * 131073)],
            r"line 3: wanted comma-separated values; got field larger than field limit \(131072\)",
        ),
        (
            [WALK, TRIAL.format('"walk')],
            "line 3: wanted comma-separated values; got unexpected end",
        ),
        (
            [WALK.replace("bvh/01/", "bvh/01/" + "x" * 5000)],
            r"line 2: wanted the path of a file inside .*; got 'bvh/01/x+\.\.\.'",
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
        mocap_index.read_index(root)
    assert str(refusal.value).startswith(str(root / "INDEX.csv"))


def test_a_missing_folder_index_or_column_is_refused(write, tmp_path):
    with pytest.raises(ValueError, match="`root` must be a folder with INDEX.csv .*; got /none"):
        mocap_index.read_index("/none")
    with pytest.raises(ValueError, match="INDEX.csv does not exist"):
        mocap_index.read_index(tmp_path)
    root = index(write, WALK, columns=COLUMNS.replace("split", "fold").replace("path", "file"))
    with pytest.raises(ValueError, match="line 1: wanted the columns .*; got none named split, p"):
        mocap_index.read_index(root)
    for twice in ("path", "bytes"):
        root = index(write, WALK + ",1", columns=f"{COLUMNS},{twice}")
        with pytest.raises(
            ValueError, match=f"line 1: wanted each column once; got '{twice}' again"
        ):
            mocap_index.read_index(root)
    with pytest.raises(ValueError, match="`root` must be a folder .*; got xxx"):
        mocap_index.read_index("x" * 5000)


def test_a_subject_with_a_long_name_has_no_skeleton(write):
    name = "x" * 300
    root = index(write, WALK.replace("01,01_01", f"{name},{name}_01"), *OTHERS)
    assert mocap_index.read_index(root)[0].asf is None


@pytest.mark.parametrize(
    ("subject", "there"), [("01", "01.ASF"), ("01", "1.asf"), ("1", "01.asf"), ("a1", "A1.asf")]
)
def test_a_skeleton_in_another_spelling_is_refused_by_name(write, subject, there):
    root = index(write, WALK.replace("01,01_01", f"{subject},{subject}_01"), *OTHERS)
    write("", f"data/asf/{there}")
    with pytest.raises(
        ValueError,
        match=f"wanted the skeleton of subject {subject} as asf/{subject}.asf; got asf/{there}$",
    ):
        mocap_index.read_index(root)
    write("", f"data/asf/{subject}.asf")
    assert mocap_index.read_index(root)[0].asf == root / "asf" / f"{subject}.asf"


def test_skeletons_that_are_there_and_cannot_be_read_are_refused(write):
    root = index(write, WALK, *OTHERS)
    write("", "data/ASF/01.asf")
    with pytest.raises(ValueError, match="data must have its skeletons in .* 'asf'; got 'ASF'"):
        mocap_index.read_index(root)
    (root / "ASF").rename(root / "asf")
    (root / "asf" / "01.asf").unlink()
    (root / "asf" / "01.asf").symlink_to("nowhere")
    with pytest.raises(ValueError, match="asf/01.asf must be a file; got a link to nowhere"):
        mocap_index.read_index(root)
    (root / "asf" / "01.asf").unlink()
    (root / "asf").rmdir()
    (root / "asf").write_text("")
    with pytest.raises(ValueError, match="data/asf must be a folder; got a file"):
        mocap_index.read_index(root)
