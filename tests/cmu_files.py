"""Made-up files of the CMU database: a skeleton (ASF) and motions (BVH) of one body."""

from di2pose_lib.data.mocap_skeleton import END_SITES, HIERARCHY

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

T_POSE = {"position": (500, 500, 500)}  # far away: it must be dropped

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


def cmu_text(rows, frame_time=1 / 120, changed=None, mapped=lambda offset: offset):
    """A BVH text of the CMU hierarchy; `rows` map a joint to its three channels.

    `changed` maps a joint to its OFFSET; `mapped` is applied to all.
    """
    changed = changed or {}
    children = {}
    for name, parent in HIERARCHY:
        children.setdefault(parent, []).append(name)

    def offset(name, table):
        return "OFFSET " + " ".join(map(str, mapped(changed.get(name) or offset_of(name, table))))

    def joint(name, keyword="JOINT"):
        position = "6 Xposition Yposition Zposition" if keyword == "ROOT" else "3"
        inside = [offset(name, OFFSETS), f"CHANNELS {position} Zrotation Yrotation Xrotation"]
        inside += [joint(child) for child in children.get(name, ())]
        if name in END_SITES:
            inside.append("End Site\n{\n" + offset(name, ENDS) + "\n}")
        return "\n".join([f"{keyword} {name}", "{", *inside, "}"])

    def row(entry):
        numbers = [*entry.get("position", (0, 0, 0))]
        for name, _ in HIERARCHY:
            numbers += entry.get(name, (0, 0, 0))
        return " ".join(map(str, numbers))

    motion = ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {frame_time}", *map(row, rows)]
    return "\n".join(["HIERARCHY", joint("Hips", "ROOT"), *motion]) + "\n"
