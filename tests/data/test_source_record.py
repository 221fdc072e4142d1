"""The record of a source's files: what DVC sees in their place."""

from types import SimpleNamespace

import pytest

from di2pose_lib.base import files
from di2pose_lib.data import source_record

CONFIG = SimpleNamespace(data=SimpleNamespace(source="mocap"))


@pytest.fixture
def source(monkeypatch, tmp_path):
    """A source whose one file can be exchanged; its record lies below `tmp_path`."""
    identity = {"walk.bvh": "1234"}
    source = SimpleNamespace(identity=lambda: dict(identity), exchange=identity.update)
    monkeypatch.setattr(source_record, "open_source", lambda config: source)
    monkeypatch.setattr(source_record, "project_root", lambda: tmp_path)
    return source


def test_a_record_is_written_once_and_again_when_a_file_changes(source):
    path = source_record.record_path(CONFIG)
    assert source_record.update_record(CONFIG)
    written = path.stat().st_mtime_ns
    assert not source_record.update_record(CONFIG)
    assert path.stat().st_mtime_ns == written
    source.exchange({"walk.bvh": "5678"})
    assert source_record.update_record(CONFIG)
    assert files.read_json(path) == {"identity": {"walk.bvh": "5678"}}


def test_what_else_the_record_holds_stays(source):
    files.write_json(source_record.record_path(CONFIG), {"identity": "old", "other": 1})
    assert source_record.update_record(CONFIG)
    assert source_record.read_record(CONFIG) == {"identity": {"walk.bvh": "1234"}, "other": 1}


def test_a_source_with_other_files_than_recorded_is_refused(source):
    with pytest.raises(ValueError, match=r"mocap.json must record the files .* run `make mocap`"):
        source_record.check_record(CONFIG, source)
    source_record.update_record(CONFIG)
    source_record.check_record(CONFIG, source)
    source.exchange({"run.bvh": "9"})
    with pytest.raises(ValueError, match="it names others"):
        source_record.check_record(CONFIG, source)


def test_the_command_line_says_what_it_did_or_what_is_wrong(source, monkeypatch, capsys):
    monkeypatch.setattr(source_record, "load_config", lambda path: CONFIG)
    assert source_record.main(["params.yaml"]) == 0
    assert capsys.readouterr().out == "results/reference/mocap.json: other files, written anew\n"
    assert source_record.main(["params.yaml"]) == 0
    assert capsys.readouterr().out == "results/reference/mocap.json: up to date\n"

    def refuse(config):
        raise ValueError("no folder")

    monkeypatch.setattr(source_record, "open_source", refuse)
    assert source_record.main(["params.yaml"]) == 1
    assert capsys.readouterr().err == "error: no folder\n"
    assert source_record.main([]) == 2


def test_a_record_that_cannot_be_read_is_not_written_anew(source):
    path = source_record.record_path(CONFIG)
    path.mkdir(parents=True)
    with pytest.raises(ValueError, match="mocap.json must be a file; got a folder"):
        source_record.update_record(CONFIG)
