"""Results of the protocols: made-up row files of several seeds, joined and written."""

import json
import math
import re
import shutil

import pytest

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import SOURCE_PARAMS, project_root, results_folder
from di2pose_lib.evaluation import protocols, visibility
from di2pose_lib.evaluation.advocc_rows import SAMPLER, SEARCH
from di2pose_lib.evaluation.estimators import CHAIN
from di2pose_lib.evaluation.plausibility import GROUND_TRUTH
from studies import protocol_results
from studies.ledger_results import Results, Selection
from studies.protocol_results import FILES, finished, joined, main, write
from studies.protocol_runs import AGREEMENTS, NAMES, PATCHES, SAMPLERS, planned

FIELDS = {
    *("protocol", "level", "method", "estimator", "joints", "metric"),
    *("mean", "ci95_low", "ci95_high", "seeds", "n"),
}
BASE = load_config(project_root() / SOURCE_PARAMS["synthetic"])


@pytest.fixture
def root(tmp_path):
    """A root with both sources' parameters."""
    for params in SOURCE_PARAMS.values():
        (tmp_path / params).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project_root() / params, tmp_path / params)
    return tmp_path


def row(means, estimator="one sample", method="Di2Pose", names=(0, 1), **fields):
    """A row of one seed, of two clusters of two images."""
    usual = {"protocol": "mask", "level": 0.4, "joints": "all", "metric": "mpjpe_mm"}
    mean = sum(means) / len(means)
    return {
        **usual, "method": method, "estimator": estimator, "mean": mean, "ci95_low": mean - 1,
        "ci95_high": mean + 1, "seeds": 1, "n": 4,
        "clusters": {"names": list(names), "means": list(means), "counts": [2] * len(means)},
        **fields,
    }  # fmt: skip


def by_actions(mean):
    return row([mean], metric="MPJPE, mean of actions", protocol="clean", level=0.0, clusters=None)


def occlusion(shift, names=(0, 1)):
    """What a run of one seed leaves; every error is `shift` larger than those below."""

    def own(means, *where, **fields):
        return row([mean + shift for mean in means], *where, names=names, **fields)

    return {
        "errors": [
            own([60.0, 80.0]),
            own([50.0, 72.0], "soft decoding"),
            own([55.0, 75.0], "mean of samples"),
            own([90.0, 90.0], "copy", "nearest training neighbour"),
        ],
        "uncertainty": [own([20.0, 30.0], "8 samples", metric="spread_mm")],
        "plausibility": [
            own([9.0, 9.0], metric="bone_error_mm"),
            own([4.0, 6.0], "", GROUND_TRUTH, metric="bone_error_mm"),
        ],
        "conventions": [
            own([60.0, 80.0], metric="MPJPE", protocol="clean", level=0.0),
            by_actions(71.0 + shift),
            own([40.0, 40.0], metric="PA-MPJPE", protocol="clean", level=0.0),
        ],
    }


def advocc(size, clean, worst):
    fields = {"protocol": "advocc", "estimator": "soft decoding"}
    errors = [row([clean] * 2, level=0, joints="in the image", **fields)]
    errors.append(row([worst] * 2, level=size, joints="outside the patch", **fields))
    return {"errors": errors, "gallery": [{"image": size}]}


def agreement(size):
    return {"errors": [row([90.0, 100.0], protocol=SEARCH, level=size, metric="same position, %")]}


def by_action(shift):
    """Rows of an action, of the mean of actions and of exchanged images, and the latter alone."""
    fields = {"protocol": "clean: Sitting", "level": 0.0}
    mean = {"protocol": "clean: mean of actions", "level": 0.0, "clusters": None}
    return {"errors": [row([70.0 + shift, 80.0 + shift], **fields), row([65.0 + shift], **mean)]}


def sampler(size):
    fields = {"protocol": SAMPLER, "estimator": CHAIN}
    return {"errors": [row([60.0] * 2, level=0, **fields), row([99.0] * 2, level=size, **fields)]}


def inpainted(shift):
    return {"errors": [row([5.0 + shift, 7.0 + shift], protocol="both legs known", level=1.0)]}


def put(root, name, source, seed, value):
    (run,) = planned(BASE, [name], [source], [seed], root)
    run.row_path.parent.mkdir(parents=True, exist_ok=True)
    run.row_path.write_text(value if isinstance(value, str) else json.dumps(value))
    return run.row_path


def put_all(root, source, seeds=(2, 3, 4)):
    for seed in seeds:
        put(root, "occlusion", source, seed, occlusion(float(seed)))
        put(root, "actions", source, seed, by_action(float(seed)))
        put(root, "inpainting", source, seed, inpainted(float(seed)))
        grown = row([20.0, 30.0], "8 samples", metric="spread_mm", level=0.8)
        put(root, "growth", source, seed, {"uncertainty": [grown]})
        for name, size in PATCHES.items():
            put(root, name, source, seed, advocc(size, 50.0 + seed, size + 100.0))
    for name, size in AGREEMENTS.items():
        put(root, name, source, seeds[0], agreement(size))
    for name, size in SAMPLERS.items():
        put(root, name, source, seeds[0], sampler(size))


def read(root, source, file):
    return json.loads((results_folder(source, root) / f"{file}.json").read_text())


def of(rows, method="Di2Pose", estimator="one sample", **wanted):
    wanted |= {"method": method, "estimator": estimator}
    (found,) = (r for r in rows if wanted.items() <= r.items())
    return found


@pytest.mark.parametrize("source", ["synthetic", "mocap"])
def test_three_seeds_become_one_row_with_an_interval_in_every_file(root, source):
    put_all(root, source)
    files, _ = write(source, root)
    assert set(files) == set(FILES)
    for file in FILES:
        rows = read(root, source, file)
        assert rows == files[file] and all(r.keys() == FIELDS for r in rows)
        assert all(r["ci95_low"] <= r["mean"] <= r["ci95_high"] for r in rows)
        keys = [tuple(r[key] for key in sorted(FIELDS - {"mean"})[2:]) for r in rows]
        assert len(keys) == len(rows)
    one = of(read(root, source, "sweeps"), protocol="mask")
    assert one["mean"] == pytest.approx((60 + 80) / 2 + (2 + 3 + 4) / 3)
    assert (one["seeds"], one["n"]) == (3, 12)
    spread = read(root, source, "uncertainty")
    assert of(spread, estimator="8 samples", level=0.4)["mean"] == pytest.approx(28)
    assert of(spread, estimator="8 samples", level=0.8)["mean"] == pytest.approx(25)
    sitting = of(read(root, source, "sweeps"), protocol="clean: Sitting")
    assert (sitting["mean"], sitting["seeds"]) == (pytest.approx(78), 3)
    actions = of(read(root, source, "sweeps"), protocol="clean: mean of actions")
    assert actions["mean"] == pytest.approx(68) and actions["ci95_high"] > 70
    known = of(read(root, source, "inpainting"), protocol="both legs known")
    assert (known["mean"], known["seeds"]) == (pytest.approx(9), 3)
    attacked = [r for r in read(root, source, "advocc") if r["protocol"] == SAMPLER]
    assert [(r["level"], r["mean"], r["seeds"]) for r in attacked] == [(0, 60, 1), (80, 99, 1)]
    other = "mocap" if source == "synthetic" else "synthetic"
    assert not (results_folder(other, root) / "sweeps.json").exists()


def test_the_ledger_finds_each_row_without_taking_a_difference_for_it(root):
    put_all(root, "mocap")
    write("mocap", root)
    results = Results(root)
    found = results.find("mocap", Selection("sweeps", {"protocol": "mask", "level": 0.4}))
    assert found.value.mean == pytest.approx(73) and found.value.seeds == 3
    assert "one sample" in found.what
    for level, wanted in ((0.0, 53.0), (40.0, 140.0), (80.0, 180.0)):
        selection = Selection("advocc", {"protocol": "advocc", "level": level})
        assert results.find("mocap", selection).value.mean == pytest.approx(wanted)


def test_pairs_are_rows_of_their_own_with_narrower_intervals(root):
    put_all(root, "synthetic")
    files, _ = write("synthetic", root)
    pair = of(files["sweeps"], "Di2Pose, one sample − Di2Pose, soft decoding", "")
    assert pair["mean"] == pytest.approx((10 + 8) / 2) and pair["seeds"] == 3
    one = of(files["sweeps"], protocol="mask")
    widths = [r["ci95_high"] - r["ci95_low"] for r in (pair, one)]
    assert widths[0] < widths[1] / 5, "seeds and clusters move both of a pair alike"
    shown = {r["method"] for r in files["sweeps"] if r["estimator"] == ""}
    assert shown == {
        "Di2Pose, one sample − Di2Pose, soft decoding",
        "Di2Pose, one sample − Di2Pose, mean of samples",
        "nearest training neighbour, copy − Di2Pose, one sample",
    }
    truth = of(files["plausibility"], "Di2Pose, one sample − ground truth, ", "")
    assert truth["mean"] == pytest.approx((5 + 3) / 2)


def test_the_same_joints_covered_and_not_are_a_pair_and_other_joints_are_none(root):
    fields = {"estimator": CHAIN}
    covered = "left wrist, covered by the occluder"
    for seed in (2, 3):
        value = occlusion(0.0)
        for joints in (covered, "visible"):
            value["errors"] += [
                row([40.0, 50.0], protocol="clean", level=0.0, joints=joints, **fields),
                row([90.0, 120.0], protocol="occluders", level=1.0, joints=joints, **fields),
            ]
        put(root, "occlusion", "synthetic", seed, value)
    rows = write("synthetic", root)[0]["sweeps"]
    (pair,) = [r for r in rows if visibility.WITHOUT in r["method"]]
    assert pair["method"] == (f"Di2Pose, {CHAIN} − Di2Pose without the occluder, {CHAIN}")
    assert (pair["protocol"], pair["level"], pair["joints"]) == ("occluders", 1.0, covered)
    assert pair["mean"] == pytest.approx((50 + 70) / 2)
    assert visibility.WITHOUT not in {r["method"] for r in rows}
    assert protocols.LOOKED_INTO[-1] == (protocols.OCCLUDERS, 1.0)


def test_a_row_without_a_common_recording_is_left_out_where_recordings_are_shared():
    found = {name: {} for name in NAMES}
    found["occlusion"] = {2: occlusion(0.0), 3: occlusion(0.0)}
    for seed, names in ((2, range(5)), (3, range(5, 10))):
        rare = row([1.0] * 5, names=tuple(names), protocol="visible share", level=0.2)
        found["occlusion"][seed]["errors"].append(rare)
    for shared in (True, False):
        rows = joined(found, shared_clusters=shared)["sweeps"]
        kept = [r for r in rows if r["protocol"] == "visible share"]
        assert len(kept) == (0 if shared else 1)
        assert of(rows, protocol="mask")["seeds"] == 2


def test_a_bin_of_too_few_people_is_left_out_though_a_run_holds_it():
    found = {name: {} for name in NAMES}
    found["occlusion"] = {2: occlusion(0.0)}
    for level, people in ((0.2, 4), (0.4, 5)):
        few = row([1.0] * people, names=tuple(range(people)), protocol="visible share", level=level)
        found["occlusion"][2]["errors"].append(few)
    rows = joined(found, shared_clusters=False)["sweeps"]
    assert [r["level"] for r in rows if r["protocol"] == "visible share"] == [0.4]


def test_a_mean_of_actions_has_an_interval_over_the_seeds_and_its_place(root):
    put_all(root, "synthetic")
    rows = write("synthetic", root)[0]["conventions"]
    assert [r["metric"] for r in rows] == ["MPJPE", "MPJPE, mean of actions", "PA-MPJPE"]
    # 73, 74, 75: mean 74, deviation 1, Student's 4.303 / √3
    assert rows[1]["mean"] == pytest.approx(74) and rows[1]["seeds"] == 3
    assert rows[1]["ci95_low"] == pytest.approx(74 - 4.303 / 3**0.5)
    assert rows[1]["ci95_high"] == pytest.approx(74 + 4.303 / 3**0.5)


def test_a_single_seed_is_written_with_its_own_intervals(root):
    put_all(root, "synthetic", seeds=[2])
    files, _ = write("synthetic", root)
    assert {r["seeds"] for rows in files.values() for r in rows} == {1}
    actions = of(files["conventions"], metric="MPJPE, mean of actions")
    assert (actions["ci95_low"], actions["ci95_high"]) == (72.0, 74.0)


def test_clean_images_of_an_attack_are_counted_once_whichever_patch_has_them(root):
    put(root, "advocc 40", "synthetic", 2, advocc(40, 10.0, 100.0))
    put(root, "advocc 80", "synthetic", 2, advocc(80, 10.0, 200.0))
    put(root, "advocc 80", "synthetic", 3, advocc(80, 30.0, 220.0))
    files, found = write("synthetic", root)
    assert [(r["level"], r["mean"], r["seeds"]) for r in files["advocc"]] == [
        (0, pytest.approx(20), 2),
        (40, pytest.approx(100), 1),
        (80, pytest.approx(210), 2),
    ]
    assert set(files) == {"advocc"}, "nothing else has been run"
    assert {name: list(own) for name, own in found.items() if own} == {
        "advocc 40": [2], "advocc 80": [2, 3]
    }  # fmt: skip


def test_the_agreement_of_the_search_stands_beside_the_attacks(root):
    put_all(root, "synthetic")
    rows = [r for r in write("synthetic", root)[0]["advocc"] if r["protocol"] == SEARCH]
    assert [(r["level"], r["mean"], r["seeds"]) for r in rows] == [(40, 95, 1), (80, 95, 1)]


def test_recordings_are_the_same_in_every_seed_and_synthetic_people_are_not():
    """Cluster 1 alone is in both seeds."""
    found = {name: {} for name in NAMES}
    found["occlusion"] = {2: occlusion(0.0, names=(0, 1)), 3: occlusion(0.0, names=(1, 7))}
    together = of(joined(found, shared_clusters=True)["sweeps"])
    assert together["mean"] == pytest.approx((80 + 60) / 2)
    found["occlusion"][3] = occlusion(6.0, names=(1, 7))
    assert of(joined(found, shared_clusters=True)["sweeps"])["mean"] == pytest.approx(73)
    assert of(joined(found, shared_clusters=False)["sweeps"])["mean"] == pytest.approx(73)
    found["occlusion"][3]["errors"][0]["clusters"]["means"] = [66.0, 900.0]
    assert of(joined(found, shared_clusters=True)["sweeps"])["mean"] == pytest.approx(73)
    assert of(joined(found, shared_clusters=False)["sweeps"])["mean"] > 200
    assert protocol_results.SHARED_CLUSTERS == {"synthetic": False, "mocap": True}


def test_runs_of_other_parameters_are_not_read(root):
    put_all(root, "synthetic")
    params = root / SOURCE_PARAMS["synthetic"]
    text = params.read_text()
    params.write_text(re.sub("num_inference_steps: [0-9]+", "num_inference_steps: 3", text))
    assert params.read_text() != text
    assert not any(finished("synthetic", root).values())
    assert write("synthetic", root)[0] == {}


def test_what_was_found_is_told_and_nothing_is_written_of_nothing(root, monkeypatch, capsys):
    monkeypatch.setattr(protocol_results, "project_root", lambda: root)
    put(root, "occlusion", "mocap", 2, occlusion(0.0))
    put(root, "occlusion", "mocap", 4, occlusion(0.0))
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "mocap: finished seeds of occlusion: 2 of 3, growth: 0 of 3" in told
    assert "agreement 80: 0 of 1" in told
    assert (
        "sweeps.json: 7 rows" in told
        and "advocc.json: no finished run with these parameters, left as it was" in told
    )
    assert "synthetic: finished seeds of occlusion: 0 of 3" in told
    assert not (root / "results" / "lesson" / "synthetic").exists()
    folder = results_folder("mocap", root)
    assert {path.stem for path in folder.iterdir()} == {*FILES} - {"advocc", "inpainting"}
    assert main(["--source", "synthetic"]) == 0
    assert "mocap" not in capsys.readouterr().out


def test_a_damaged_run_is_refused_by_name_and_nothing_is_written(root, monkeypatch, capsys):
    monkeypatch.setattr(protocol_results, "project_root", lambda: root)
    bare = {name: value for name, value in row([1.0, 2.0]).items() if name != "clusters"}
    for value, wanted in (
        ("{", "must hold JSON"),
        ([], "must hold a list called 'errors'"),
        ({"errors": {}}, "must hold a list called 'errors'"),
        ({**occlusion(0.0), "plausibility": None}, "must hold a list called 'plausibility'"),
        ({**occlusion(0.0), "errors": [bare]}, "every row must have ci95_high, .*clusters"),
        ({**occlusion(0.0), "errors": [row([1.0, 2.0])] * 2}, "must hold a row once"),
    ):
        path = put(root, "occlusion", "synthetic", 3, value)
        with pytest.raises(ValueError, match=wanted) as refused:
            write("synthetic", root)
        assert path.name in str(refused.value) or "a row once" in wanted
        assert main([]) == 1 and "error: " in capsys.readouterr().err
        assert not (root / "results" / "lesson" / "synthetic").exists()


def test_clean_images_stand_as_a_mask_and_a_crop_of_0_too(root):
    value = occlusion(2.0)
    clean = {"protocol": "clean", "level": 0.0}
    value["errors"] += [row([30.0, 50.0], **clean, joints=j) for j in ("all", "left wrist, seen")]
    put(root, "occlusion", "synthetic", 2, value)
    write("synthetic", root)
    rows = read(root, "synthetic", "sweeps")
    clean = of(rows, protocol="clean", joints="all")
    for sweep in ("mask", "crop"):
        assert of(rows, protocol=sweep, level=0.0) == {**clean, "protocol": sweep}
    assert [r["protocol"] for r in rows if r["joints"] == "left wrist, seen"] == ["clean"]


def test_the_gallery_is_that_of_the_pipelines_own_seed(root):
    put_all(root, "synthetic", seeds=(2, 3))
    for name in PATCHES:
        put(root, name, "synthetic", 3, {**advocc(40, 1.0, 2.0), "gallery": [{"image": -1}]})
    write("synthetic", root)
    wanted = {name: [{"image": size}] for name, size in PATCHES.items()}
    assert read(root, "synthetic", "advocc_gallery") == wanted


def test_without_an_attack_there_is_no_gallery(root):
    put(root, "occlusion", "synthetic", 2, occlusion(2.0))
    write("synthetic", root)
    assert not (root / "results" / "lesson" / "synthetic" / "advocc_gallery.json").exists()


@pytest.mark.parametrize("shared", [True, False])
def test_a_mean_of_actions_is_as_unsure_as_its_seeds_and_its_clusters(shared):
    """Seeds at 69, 70 and 71, each unsure by 4 mm for its clusters."""
    rows = [
        {**by_actions(mean), "ci95_low": mean - 4.0, "ci95_high": mean + 4.0}
        for mean in (69.0, 70.0, 71.0)
    ]
    seeds = 4.303 / 3**0.5
    clusters = 4.0 if shared else 4.0 / 3**0.5
    wanted = math.hypot(seeds, clusters) if shared else max(seeds, clusters)
    found = protocol_results._mean_of_seeds(rows, shared)
    assert (found["mean"], found["seeds"], found["n"]) == (70.0, 3, 12)
    assert found["ci95_high"] - 70 == 70 - found["ci95_low"] == pytest.approx(wanted)
    one = protocol_results._mean_of_seeds(rows[:1], shared)
    assert (one["ci95_low"], one["ci95_high"], one["seeds"]) == (65.0, 73.0, 1)
