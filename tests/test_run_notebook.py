"""The program that runs a stage's notebook: reports that repeat byte for byte, or none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from di2pose_lib import run_notebook

ROOT = Path(__file__).resolve().parents[1]
REPORTS = "reports/smoke/synthetic"
CHECKPOINTS = "checkpoints/smoke/synthetic"

TALKATIVE = """
import os, sys, time
import plotly.graph_objects as go
folder = os.path.basename(os.getcwd())
print("stage", os.environ["DI2POSE_STAGE"], "reads", params_file, "in", folder)
sys.stdout.flush(); time.sleep(0.3)
print("and the hash of a string is", hash("pose") % 1000)
print("own Python", sys.executable == os.environ["RUNNING"], "− and no", "startup" in globals())
import di2pose_lib
print("another library", hasattr(di2pose_lib, "OTHER"))
open("written", "w").write("−")
"shown by a profile that shows every expression, not the last alone"
print("a resumed run would say so here", file=sys.stderr)
print(object())
"""


@pytest.fixture
def project(tmp_path):
    """A repository with parameters and an empty notebooks/ folder."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    smoke = (ROOT / "pipelines" / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(smoke.replace("../params.yaml", "base.yaml"), "utf-8")
    shutil.copy(ROOT / "params.yaml", tmp_path / "base.yaml")
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def add_notebook(project, name, *cells):
    parameters = new_code_cell('params_file = "?"', metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[parameters, *(new_code_cell(cell) for cell in cells)])
    nbformat.write(notebook, project / "notebooks" / f"{name}.ipynb")


def start(project, name, **environment):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "di2pose_lib.run_notebook",
            f"notebooks/{name}.ipynb",
            "params.yaml",
        ],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RUNNING": sys.executable, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def run(project, name, **environment):
    process = start(project, name, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


# As a machine's /etc/ipython, which a test may not write.
SITECUSTOMIZE = """
import IPython.core.application
IPython.core.application.SYSTEM_CONFIG_DIRS.insert(0, {machine!r})
"""


@pytest.fixture
def set_up_for_other_work(project, tmp_path_factory):
    """Variables of a user with another kernel, another checkout, a profile, an old locale."""
    home = tmp_path_factory.mktemp("home")
    other_kernel = {"argv": ["no-such-python", "-f", "{connection_file}"], "display_name": "other"}
    profile = "ipython/profile_default"
    files = {
        "jupyter/kernels/python3/kernel.json": json.dumps(other_kernel),
        f"{profile}/ipython_config.py": "c.InteractiveShell.ast_node_interactivity = 'all'",
        f"{profile}/startup/00.py": "startup = 1",
        "machine/ipython_kernel_config.py": "c.InteractiveShell.ast_node_interactivity = 'all'",
        "machine/startup/00.py": "startup = 1",
        "startup.py": "startup = 1",
        "other/di2pose_lib/__init__.py": "OTHER = True",
        "other/sitecustomize.py": SITECUSTOMIZE.format(machine=str(home / "machine")),
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    # The stage's own library lies where it is started; what is on PYTHONPATH comes after.
    (project / "di2pose_lib").symlink_to(ROOT / "di2pose_lib")
    return {
        "JUPYTER_PATH": str(home / "jupyter"),
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "no-such-provisioner",
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONSTARTUP": str(home / "startup.py"),
        "PYTHONPATH": str(home / "other"),
        "PYTHONOPTIMIZE": "1",
        "PYTHONIOENCODING": "latin-1",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
        "PLOTLY_RENDERER": "browser",
    }


def test_two_runs_write_the_same_bytes_and_clear_their_own_checkpoints(
    project, set_up_for_other_work
):
    add_notebook(project, "03_talk", TALKATIVE, "object()", "go.Figure(go.Scatter(y=[1, 2]))")
    checkpoints = project / CHECKPOINTS / "talk-0123456789abcdef"
    other = project / CHECKPOINTS / "other-0123456789abcdef"
    reports = []
    for environment in ({}, set_up_for_other_work):
        checkpoints.mkdir(parents=True)
        other.mkdir(parents=True, exist_ok=True)
        code, out, err = run(project, "03_talk", **environment)
        assert code == 0, err
        reports.append((project / REPORTS / "03_talk.ipynb").read_bytes())
        assert not checkpoints.exists()
        assert other.exists()
        assert "own Python True − and no False\nanother library False\n" in out
        assert (project / "written").read_text(encoding="utf-8") == "−"
    assert reports[0] == reports[1]
    assert f"stage talk reads params.yaml in {project.name}" in out
    assert "a resumed run would say so here" in err  # in the log, not in the report
    cells = json.loads(reports[0])["cells"]
    streams = [o for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "stream"]
    assert [stream["name"] for stream in streams] == ["stdout"]
    assert "<object object at 0x…>" in "".join(streams[0]["text"])
    figure = cells[-1]["outputs"][0]["data"]
    assert list(figure) == ["application/vnd.plotly.v1+json"]
    assert [path.name for path in (project / REPORTS).iterdir()] == ["03_talk.ipynb"]


def test_a_failing_cell_gives_exit_code_1_and_keeps_the_checkpoints_and_the_old_report(project):
    add_notebook(project, "03_fail", "print('before')", "assert False, 'the reason'")
    (project / REPORTS).mkdir(parents=True)
    (project / REPORTS / "03_fail.ipynb").write_text("old")
    checkpoint = project / CHECKPOINTS / "fail-0123456789abcdef"
    checkpoint.mkdir(parents=True)
    code, out, err = run(project, "03_fail", PYTHONOPTIMIZE="1")
    assert code == 1
    assert out.startswith("before")
    assert "AssertionError: the reason" in err
    assert err.endswith("error: notebooks/03_fail.ipynb failed; no report was written\n")
    assert [path.name for path in (project / REPORTS).iterdir()] == ["03_fail.ipynb"]
    assert (project / REPORTS / "03_fail.ipynb").read_text() == "old"
    assert checkpoint.exists()


def test_a_refusal_in_a_cell_is_one_sentence_without_a_traceback(project):
    # Before it stops a kernel, its client interrupts it; one that works at that moment says:
    interrupted = "get_ipython().kernel.log.error('KeyboardInterrupt caught in kernel.')"
    add_notebook(project, "03_fail", interrupted, "raise ValueError('`x` must be 1; got 2')")
    code, _, err = run(project, "03_fail")
    assert code == 1
    assert err == "error: notebooks/03_fail.ipynb: `x` must be 1; got 2\n"
    assert not (project / REPORTS).exists()


def test_a_stage_makes_its_artefact_anew_whatever_stands_there(project):
    artifact = project / "artifacts/smoke/synthetic/again"
    artifact.mkdir(parents=True)
    add_notebook(project, "03_again", f"import os\nassert not os.path.exists({str(artifact)!r})")
    assert run(project, "03_again")[0] == 0


def test_a_killed_kernel_gives_exit_code_1_and_no_report(project):
    add_notebook(project, "03_die", "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    code, _, err = run(project, "03_die")
    assert code == 1
    assert "Kernel died" in err
    assert not (project / REPORTS).exists()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_when_dvc_is_killed_the_stage_and_its_kernel_end_too(project):
    cell = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    add_notebook(project, "03_wait", cell)
    command = [sys.executable, "-m", "di2pose_lib.run_notebook", "notebooks/03_wait.ipynb"]
    parent = f"import subprocess; p = subprocess.Popen({[*command, 'params.yaml']!r}); print(p.pid)"
    dvc = subprocess.Popen(
        [sys.executable, "-uc", f"{parent}; p.wait()"],
        cwd=project,
        env={**os.environ, "DVC_STAGE": "wait", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    runner = int(dvc.stdout.readline())
    give_up = time.monotonic() + 120
    while not (project / "pid").is_file() or not (project / "pid").read_text():
        assert alive(runner)
        assert time.monotonic() < give_up
        time.sleep(0.1)
    kernel = int((project / "pid").read_text())
    assert alive(kernel)
    os.kill(dvc.pid, signal.SIGKILL)
    dvc.wait()
    dvc.stdout.close()
    while alive(runner) or alive(kernel):
        assert time.monotonic() < give_up, "still running"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "usage: python -m di2pose_lib.run_notebook NOTEBOOK PARAMS_FILE"),
        (["a", "b", "c"], 2, "usage: "),
        (["none.ipynb", "params.yaml"], 1, "error: `notebook` must exist; got "),
        (["params.yaml", "params.yaml"], 1, "error: `notebook` must be an .ipynb file; got "),
        (["notebooks/01_x.ipynb", "none.yaml"], 1, "the parameters file does not exist"),
        (["notebooks/01_x.ipynb", "bad.yaml"], 1, "bad.yaml: `scale` is missing"),
    ],
)
def test_bad_arguments_give_one_sentence(project, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(project)
    add_notebook(project, "01_x", "1")
    (project / "bad.yaml").write_text("seed: 0\n")
    assert run_notebook.main(arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (project / "reports").exists()


def test_parameters_outside_the_repository_are_refused(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "params.yaml"
    shutil.copy(project / "params.yaml", elsewhere)
    add_notebook(project, "01_x", "1")
    with pytest.raises(ValueError, match="`params_file` must lie in the repository"):
        run_notebook.run_notebook(project / "notebooks" / "01_x.ipynb", elsewhere)


TAGGED = {"tags": ["parameters"]}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([new_code_cell("params_file = 1")], "exactly one cell tagged `parameters`; got 0"),
        ([], "exactly one cell tagged `parameters`; got 0"),
        (
            [new_code_cell(f"params_file = {i}", metadata=TAGGED) for i in (1, 2)],
            "tagged `parameters`; got 2",
        ),
        ([new_markdown_cell("params_file = 1", metadata=TAGGED)], "got a markdown cell"),
        ([new_code_cell("", metadata=TAGGED)], "code that assigns `params_file`; got a code cell"),
        ([new_code_cell("print(params_file)", metadata=TAGGED)], "assigns `params_file`"),
        ([new_code_cell("if 0:\n    params_file = 1", metadata=TAGGED)], "assigns `params_file`"),
        ([new_code_cell("params_file = ", metadata=TAGGED)], "assigns `params_file`"),
        (
            [
                new_code_cell("params_file = 1", metadata=TAGGED),
                new_code_cell("params_file = 2", metadata={"tags": ["injected-parameters"]}),
            ],
            "got an executed one",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_a_notebook_that_cannot_be_told_its_parameters_is_refused(project, cells, message):
    notebook = project / "notebooks" / "03_lost.ipynb"
    nbformat.write(new_notebook(cells=cells), notebook)
    before = project / "artifacts/smoke/synthetic/lost"
    before.mkdir(parents=True)
    with pytest.raises(ValueError, match=f"03_lost.ipynb.*{message}"):
        run_notebook.run_notebook(notebook, project / "params.yaml")
    assert before.is_dir()
    assert not (project / "reports").exists()


def test_a_parameter_with_its_type_is_one_as_well(project):
    cell = new_code_cell("params_file: str = 'params.yaml'", metadata=TAGGED)
    nbformat.write(new_notebook(cells=[cell]), project / "notebooks" / "03_typed.ipynb")
    run_notebook.check_parameters(project / "notebooks" / "03_typed.ipynb")


def test_the_library_of_another_checkout_runs_no_stage(project):
    add_notebook(project, "01_x", "1")
    (project / "di2pose_lib").mkdir()
    with pytest.raises(ValueError, match="must be run with its own library"):
        run_notebook.run_notebook(project / "notebooks" / "01_x.ipynb", project / "params.yaml")
    assert not (project / "reports").exists()


@pytest.mark.parametrize(
    ("name", "stage"), [("03_pose_tokenizer", "pose_tokenizer"), ("04a_the_chain", "the_chain")]
)
def test_the_stage_is_the_notebooks_name_without_its_number(project, name, stage):
    add_notebook(project, name, "1")
    assert run_notebook.stage_of(project / "notebooks" / f"{name}.ipynb") == stage


def test_normalise_takes_out_times_ids_widgets_and_stderr_and_joins_streams():
    def stream(name, text):
        return new_output("stream", name=name, text=text)

    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "f00"}, "text/plain": "bar"}
    cell = new_code_cell(
        "1",
        metadata={"tags": ["x"], "papermill": {"duration": 1.0}, "execution": {"iopub": "now"}},
        outputs=[
            stream("stdout", "a\n"),
            stream("stderr", "noise\n"),
            stream("stdout", "b\n"),
            new_output("display_data", data=widget),
            stream("stdout", "c <f at 0x7fab12>\n"),
            new_output("display_data", data={"text/plain": "1"}),
            stream("stdout", "d\n"),
        ],
    )
    notebook = new_notebook(cells=[new_markdown_cell("# Title"), cell])
    notebook.metadata["papermill"] = {"start_time": "now"}
    result = run_notebook.normalise(notebook)
    assert set(result.metadata) == {"kernelspec", "language_info"}
    assert [c.id for c in result.cells] == ["cell-0", "cell-1"]
    assert result.cells[1].metadata == {"tags": ["x"]}
    outputs = result.cells[1].outputs
    assert [o.output_type for o in outputs] == ["stream", "display_data", "stream"]
    assert outputs[0].text == "a\nb\nc <f at 0x…>\n"
    assert outputs[2].text == "d\n"
