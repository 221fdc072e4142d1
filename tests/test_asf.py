import pytest
from cmu_files import ASF

from di2pose_lib.data.asf import BONES, read_asf


def test_the_bones_of_a_skeleton_file_are_direction_times_length(write):
    bones = read_asf(write(ASF, "01.asf"))
    assert set(bones) == {"lfemur", "rfemur", "thorax"} == set(BONES)
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
        ("name thorax", "name tho\0rax", "line 24: wanted text; got a NUL character"),
        ("  begin\n     name r", "     name r", "line 21: wanted 'begin' of a bone; got 'end'"),
    ],
)
def test_a_malformed_skeleton_file_is_refused_with_its_line(write, old, new, match):
    assert old in ASF
    path = write(ASF.replace(old, new, 1), "01.asf")
    with pytest.raises(ValueError, match=match):
        read_asf(path)


def test_a_skeleton_file_cut_short_is_refused(write):
    with pytest.raises(ValueError, match="line 27: wanted 'end' of a bone; got the end of the"):
        read_asf(write(ASF[: ASF.index("  end\n:hierarchy")], "01.asf"))


def test_bones_that_nobody_needs_and_comments_do_not_matter(write):
    wanted = read_asf(write(ASF, "01.asf"))
    others = "".join(
        f"  begin\n     name {name}\n{rest}  end\n"
        for name, rest in (
            ("lhipjoint", "     direction 0 0 0\n     length 0\n"),
            ("lhipjoint", "     direction up\n"),
            ("rhipjoint", ""),
        )
    )
    text = ASF.replace(":bonedata\n", "# :units\n:bonedata # of one subject\n" + others)
    text = text.replace("length 0.45", "length 0.45 # of an inch").replace("begin", "begin # bone")
    text = text.replace("     name thorax", "  # name chest\n     name thorax # the chest")
    bones = read_asf(write(text, "01.asf"))
    assert bones.keys() == wanted.keys()
    assert all(bones[name].tolist() == wanted[name].tolist() for name in wanted)


def test_a_needed_bone_of_no_length_is_refused(write):
    path = write(ASF.replace("length 2.5", "length 0"), "01.asf")
    with pytest.raises(ValueError, match="line 26: wanted a positive length; got 0$"):
        read_asf(path)
