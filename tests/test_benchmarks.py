"""Benchmarks say where they ran, and the small ones run; what they measure is not tested."""

import importlib.util
import json
import platform
import sys
from pathlib import Path

import pytest
import torch
from attack_toys import SIZE, ToyModel, WhiteTextures, toy_joints, toy_pose

from di2pose_lib.diffusion import OccludeReplaceSchedule, diffusion_loss, q_sample
from di2pose_lib.evaluation.advocc import Attack, Target
from di2pose_lib.evaluation.advocc_rows import error_table
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE, FULL, SEARCHES, coarse_to_fine
from di2pose_lib.evaluation.patch_grid import patch_grid
from studies import step_choice
from studies.effects import BENCHMARK_FILE, milliseconds

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SMOKE = "pipelines/smoke.yaml"
KEYS = {"cpu", "vectors", "cores", "memory_gib", "threads", "torch", "python"}


@pytest.fixture
def benchmark(monkeypatch):
    """`benchmark(name)`: the module of one script; as when it is run, its folder is searched."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_machine_is_described_without_its_name_or_a_path(benchmark, threads):
    machine = benchmark("machine").machine
    found = machine()
    assert set(found) == KEYS | ({"gpu"} if torch.cuda.is_available() else set())
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"] and found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["cores"] >= 1 and 0.1 < found["memory_gib"] < 1e5
    words = [value for value in found.values() if isinstance(value, str)]
    assert platform.node() not in words
    assert not any(str(Path.home()) in value for value in words)
    for count in (1, 2):
        threads(count)
        assert machine()["threads"] == count


def test_the_dense_loss_that_ours_is_timed_against_is_the_same_loss(benchmark):
    generator = torch.Generator().manual_seed(0)
    schedule, step = OccludeReplaceSchedule(9, 6), torch.tensor([1, 3, 6])
    k_start = torch.randint(9, (3, 4), generator=generator)
    given = k_start, q_sample(schedule, k_start, step, generator), step
    logits = torch.randn(3, 4, 9, generator=generator, dtype=torch.float64)
    dense = benchmark("loss").dense_loss(schedule, logits, *given, 0.1)
    torch.testing.assert_close(dense, tuple(diffusion_loss(schedule, logits, *given, 0.1))[:3])


def test_every_benchmark_tells_the_machine():
    scripts = sorted(path for path in FOLDER.glob("*.py") if path.name != "machine.py")
    assert len(scripts) >= 7
    for path in scripts:
        assert '"machine": ' in path.read_text(encoding="utf-8"), path.name


def test_what_a_gpu_measured_is_kept_with_what_made_it(benchmark, tmp_path, monkeypatch):
    keep = benchmark("machine").keep
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    keep({"a": 1}, ["benchmarks/x.py"], tmp_path)
    assert not list(tmp_path.iterdir()), "a CPU writes where it is told to alone"
    keep({"a": 1}, ["benchmarks/x.py", str(tmp_path / "own.json")], tmp_path)
    assert json.loads((tmp_path / "own.json").read_text()) == {"a": 1}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    keep({"a": 1}, [str(FOLDER / "x.py")], tmp_path / "gpu")
    found = json.loads((tmp_path / "gpu" / "x.json").read_text())
    assert found["a"] == 1 and found["made_by"].keys() == {"command", "commit", "cuda"}
    assert found["made_by"]["command"] == "python benchmarks/x.py"
    assert found["made_by"]["commit"]


def test_the_time_of_a_pose_is_written_as_the_ledger_reads_it(benchmark, tmp_path, monkeypatch):
    inference = benchmark("inference")
    monkeypatch.setattr(inference, "CASES", {"lesson": (SMOKE, 1, 1)})
    monkeypatch.setattr(inference, "BATCHES", (1, 2))
    out = tmp_path / BENCHMARK_FILE
    out.parent.mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["inference.py", str(out)])
    inference.main()
    found = json.loads(out.read_text())
    assert found["machine"].keys() >= KEYS
    monkeypatch.setattr("studies.effects.project_root", lambda: tmp_path)
    each, where = milliseconds(25)
    case = found["cases"]["lesson"]["1"]
    assert each == pytest.approx(case["ms_per_pose_by_steps"]["25"])
    parts = case["ms_for_the_batch"]
    once = parts["encoder"] + parts["condition"] + parts["decoding"]
    for order, key in step_choice.PER_POSE.items():
        step = parts[inference.REVERSE_STEP[order]]
        assert case[key]["25"] == pytest.approx(once + 25 * step)
    assert where == f"{found['device']}, {found['machine']['threads']} threads"


def test_both_searches_attack_the_same_images_in_turns(benchmark):
    pose, grid = toy_pose(), patch_grid(80, SIZE)
    order = []

    class Noting(Attack):
        def attack(self, target, search):
            record = super().attack(target, search)
            asked = sum(error is not None for error in record["errors_mm"]["mpjpe_mm"])
            order.append((target.number, FULL if asked == grid.num_positions else COARSE_TO_FINE))
            return record

    attack = Noting(ToyModel(pose, (20, 30), noise=20.0), WhiteTextures(), grid, seed=5)
    targets = [
        Target(n, torch.zeros(3, *SIZE, dtype=torch.uint8), pose, toy_joints(n)) for n in range(3)
    ]
    found = benchmark("advocc").measured(attack, targets)
    assert order[0] == (0, COARSE_TO_FINE), "the warm-up"
    turns = [order[first : first + 2] for first in (1, 3, 5)]
    for number, turn in enumerate(turns):
        assert sorted(turn) == sorted((number, name) for name in SEARCHES)
    assert turns[0][0][1] != turns[1][0][1], "who is first changes"

    tables = [error_table(Attack.attack(attack, one, SEARCHES[FULL])) for one in targets]
    looked = [
        (coarse_to_fine(table.__getitem__, grid)[:, 0] > -torch.inf).sum().item()
        for table in tables
    ]
    assert found["positions"] == found["positions_per_image"][FULL] == grid.num_positions
    assert found["positions_per_image"][COARSE_TO_FINE] == pytest.approx(sum(looked) / 3)
    assert found["positions_spared"] == pytest.approx(1 - sum(looked) / 3 / grid.num_positions)
    assert 0 < found["positions_spared"] < 1
    seconds = found["seconds_per_image"]
    assert min(seconds.values()) > 0
    assert found["full_over_coarse"] == pytest.approx(seconds[FULL] / seconds[COARSE_TO_FINE])
    with pytest.raises(ValueError, match="`targets` must hold at least one image; got none"):
        benchmark("advocc").measured(attack, [])


def test_the_benchmark_of_advocc_runs_without_a_trained_pipeline(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("DI2POSE_SCRATCH_ONLY", "1")
    advocc = benchmark("advocc")
    few = {"PARAMS": SMOKE, "PATCHES": (80,), "DRAWS": 1, "FRESH_DRAWS": 2}
    for name, value in few.items():
        monkeypatch.setattr(advocc, name, value)
    out = tmp_path / "advocc.json"
    advocc.main([str(out), "--images", "1"])
    found = json.loads(out.read_text())
    assert found["machine"].keys() >= KEYS
    assert found["networks"].startswith("untrained") and found["images"] == 1
    assert (found["draws"], found["fresh_draws"]) == (1, 2)
    (patch,) = found["patches"].values()
    told = found["extrapolated"]
    assert told["images_for_each_patch"] == 200
    for search, minutes in told["minutes_for_all_patches"].items():
        assert minutes == pytest.approx(patch["seconds_per_image"][search] * 200 / 60)
    assert told["full_over_coarse"] == pytest.approx(patch["full_over_coarse"])
