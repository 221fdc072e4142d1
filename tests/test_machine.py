"""What results say of the machine that made them."""

import json
import platform

import torch

from di2pose_lib.base.machine import cpu_model, machine


def test_results_name_the_processor_and_the_threads_of_the_run(threads, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for count in (1, 2):
        threads(count)
        vectors = torch.backends.cpu.get_cpu_capability()
        assert machine() == {"cpu": cpu_model(), "vectors": vectors, "threads": count}
    assert cpu_model() and platform.node() not in machine().values()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 5")
    assert machine()["gpu"] == "Card 5"
    assert json.loads(json.dumps(machine())) == machine()


def test_the_processor_s_model_is_the_first_of_linux_else_the_platform_s(tmp_path, monkeypatch):
    text = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Chip 7: fast\nmodel name\t: Chip 8\n"
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_model(tmp_path / "cpuinfo") == "Chip 7: fast"
    (tmp_path / "arm").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    for processor, kind, shown in (("Chip 9", "x", "Chip 9"), ("", "aarch64", "aarch64")):
        monkeypatch.setattr(platform, "machine", lambda kind=kind: kind)
        monkeypatch.setattr(platform, "processor", lambda processor=processor: processor)
        assert cpu_model(tmp_path / "arm") == cpu_model(tmp_path / "none") == shown
    monkeypatch.setattr(platform, "machine", lambda: "")
    assert cpu_model(tmp_path / "none") == "unknown"
