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
        ("length 0.45", "length 1.0", "must count in the length unit 0.45 of the .*; got 1"),
        ("  length 0.45\n", "", "must hold a 'length' under ':units'; got none"),
        ("name thorax", "name chest", r"must hold the bones .*; got no \['thorax'\]"),
        ("name thorax", "name the thorax", r"must hold the bones .*; got no \['thorax'\]"),
        ("name rfemur", "name lfemur", "must hold each bone once; got 'lfemur' again"),
        ("0 0.6 0.8", "0 0.6", r"'thorax': wanted 3 number\(s\) after 'direction'; got 2"),
        ("0 0.6 0.8", "0 0.6 up", "'thorax': wanted direction to be a number; got 'up'"),
        ("0 0.6 0.8", "0 0.6 nan", "'thorax': wanted direction to be finite.*; got 'nan'"),
        ("0 0.6 0.8", "0 6 8", "'thorax': wanted a unit direction; got length 10"),
        ("length 2.5", "length -2.5", "'thorax': wanted a positive length; got -2.5"),
        ("length 2.5", "length 0", "'thorax': wanted a positive length; got 0$"),
        ("length 2.5", "length", r"'thorax': wanted 1 number\(s\) after 'length'; got 0"),
        ("     length 2.5\n", "", r"'thorax': wanted 1 number\(s\) after 'length'; got 0"),
        ("rx ry rz\n  end\n", "rx ry rz\n", "must hold an 'end' for each 'begin'; got none"),
        ("  end\n  begin\n     name t", "  begin\n     name t", "an 'end' for each 'begin'"),
        ("name thorax", "name tho\0rax", "line 24: wanted text; got a NUL character"),
        ("  begin\n     name r", "     name r", r"must hold the bones .*; got no \['rfemur'\]"),
    ],
)
def test_a_malformed_skeleton_file_is_refused(write, old, new, match):
    assert old in ASF
    path = write(ASF.replace(old, new, 1), "01.asf")
    with pytest.raises(ValueError, match=match):
        read_asf(path)


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
