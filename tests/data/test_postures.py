from di2pose_lib.base.skeleton import ACTIONS
from di2pose_lib.data import postures


def test_every_posture_of_the_tables_is_used_and_every_range_has_a_width():
    used = {"legs": set(), "trunks": set(), "arms": set()}
    for kind in postures.REPERTOIRES.values():
        used["legs"].update(kind.legs)
        used["trunks"].update(kind.trunks)
        used["arms"].update(name for pair in kind.arms for name in pair)
    assert tuple(postures.REPERTOIRES) == ACTIONS
    for table, names in (
        (postures.LEGS, "legs"),
        (postures.TRUNKS, "trunks"),
        (postures.ARMS, "arms"),
    ):
        assert set(table) == used[names]
        assert len({len(ranges) for ranges in table.values()}) == 1
        assert all(low != high for ranges in table.values() for low, high in ranges)
