"""Run a stage's notebook: `python -m di2pose_lib.run_notebook NOTEBOOK PARAMS_FILE`.

papermill executes it from the repository's top folder with the parameter `params_file`;
what it prints goes to the log as it comes. The executed notebook becomes
reports/<scale>/<source>/<name>.ipynb, without anything that differs between two runs (times,
random ids, addresses), so that DVC can compare bytes. A notebook that fails leaves no report;
its training checkpoints stay for the next try.

The kernel is this very Python with this very library, whatever kernels, profiles and
variables a user has set up for other work.
"""

import ast
import os
import re
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

PARENT = os.getppid()  # before the imports that take seconds: DVC may be killed meanwhile

# ruff: noqa: E402
from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import read_json, write_text
from di2pose_lib.base.project import PARAMS_VARIABLE, STAGE_VARIABLE, Pipeline, project_root

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
TEMPORARY_METADATA = ("execution", "papermill", "trusted", "collapsed", "scrolled")
WIDGET = "application/vnd.jupyter.widget-view+json"

# What the kernel must find in its environment before it starts; to Python "" is not set.
# Where modules are found (PYTHONHOME, PYTHONNOUSERSITE, …) is as it was for this process, and
# threads, devices and the processor's instructions are the user's business.
ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # else CUDA's matrix products may vary
    "GOMP_SPINCOUNT": "2000",  # waiting threads soon sleep: with other work about, they block it
    "PLOTLY_RENDERER": "plotly_mimetype",  # the one without random ids
    "PYTHONHASHSEED": "0",
    "PYTHONINSPECT": "",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONOPTIMIZE": "",  # it would pass over assertions
    "PYTHONUTF8": "1",  # files and paths too, in any locale
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm, which nobody here looks at
}


def stage_of(notebook):
    """The stage of a notebook: its name without the number in front."""
    notebook = Path(notebook)
    require(notebook.suffix == ".ipynb", f"`notebook` must be an .ipynb file; got {notebook}")
    require(notebook.is_file(), f"`notebook` must exist; got {notebook}")
    return re.sub(r"^\d+[a-z]?_", "", notebook.stem)


def check_parameters(notebook):
    """Refuse a notebook to which papermill could not say, or not clearly, its parameters.

    It would run with the ones written in it, and be filed under those that were meant.

    Raises:
        ValueError: no or several cells tagged `parameters`; one that is not code or does not
            assign `params_file`; a notebook that was executed before.
    """
    cells = read_json(notebook).get("cells", [])
    tags = [cell.get("metadata", {}).get("tags", []) for cell in cells]
    tagged = [cell for cell, names in zip(cells, tags, strict=True) if "parameters" in names]
    require(
        len(tagged) == 1,
        f"{notebook} must have exactly one cell tagged `parameters`; got {len(tagged)}",
    )
    require(
        not any("injected-parameters" in names for names in tags),
        f"{notebook} must be a notebook as it was written; got an executed one, with a cell "
        "tagged `injected-parameters`",
    )
    kind, source = tagged[0].get("cell_type"), "".join(tagged[0].get("source", ""))
    require(
        kind == "code" and "params_file" in _assigned(source),
        f"{notebook}: the cell tagged `parameters` must be code that assigns `params_file`; "
        f"got a {kind} cell, {source!r}",
    )


def _assigned(source):
    """Names that Python code assigns at its top level; none where it is no Python."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return set()
    assigned = [node for node in statements if isinstance(node, ast.Assign)]
    targets = [target for node in assigned for target in node.targets]
    targets += [node.target for node in statements if isinstance(node, ast.AnnAssign)]
    names = (name for target in targets for name in ast.walk(target))
    return {name.id for name in names if isinstance(name, ast.Name)}


def run_notebook(notebook, params_file):
    """Execute a notebook as a stage of the pipeline of `params_file`.

    Sets this process's working folder and environment, which the kernel inherits.

    Args:
        notebook, params_file: paths, seen from the working folder.

    Returns:
        path of the report, the executed notebook.

    Raises:
        ValueError: a missing notebook, one without a place for its parameters, bad
            parameters, or another checkout's library.
        papermill.PapermillExecutionError: a cell failed.
        nbclient.exceptions.DeadKernelError: the kernel was killed.
    """
    notebook, params_file = Path(notebook).resolve(), Path(params_file).resolve()
    stage = stage_of(notebook)
    root = project_root(notebook.parent)
    require(
        params_file.is_relative_to(root),
        f"`params_file` must lie in the repository {root}; got {params_file}",
    )
    pipeline = Pipeline(load_config(params_file), root, stage)
    surroundings.check_library(root)
    check_parameters(notebook)
    pipeline.remove_artifact(stage)
    named = str(params_file.relative_to(root))
    path = os.pathsep.join([str(surroundings.LIBRARY.parent), *_search_path()])
    os.environ.update(
        {**ENVIRONMENT, STAGE_VARIABLE: stage, PARAMS_VARIABLE: named, "PYTHONPATH": path}
    )
    os.chdir(root)
    watched = pipeline.checkpoints / f"{notebook.stem}.executing.ipynb"
    watched.parent.mkdir(parents=True, exist_ok=True)
    executed = _execute(notebook, watched, named)
    report = pipeline.reports / notebook.name
    write_text(report, _as_text(normalise(executed)))
    watched.unlink(missing_ok=True)
    pipeline.remove_checkpoints(stage)
    return report


def _search_path():
    """The folders in PYTHONPATH, as this process understood them where it was started."""
    given = os.environ.get("PYTHONPATH", "")
    return [os.path.abspath(folder) for folder in given.split(os.pathsep) if folder]


def _own_kernel_manager():
    """A class of kernel managers that start `di2pose_lib.kernel` with this very Python.

    A kernel's name would be looked up in the folders of JUPYTER_PATH, of the user and of the
    machine, where `python3` may be any other Python. The provisioner, which starts processes
    elsewhere where JUPYTER_DEFAULT_PROVISIONER_NAME says so, is named for the same reason.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernelManager(AsyncKernelManager):
        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "di2pose_lib.kernel", "-f", "{connection_file}"],
            metadata={"kernel_provisioner": {"provisioner_name": "local-provisioner"}},
            **{key: KERNEL[key] for key in ("display_name", "language")},
        )

    return OwnKernelManager


def _execute(notebook, watched, params_file):
    """The executed notebook; papermill saves it to `watched` cell by cell."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as temporary:
        warnings.simplefilter("ignore")  # papermill's and nbformat's own
        # Connection files and IPython's history, which a home may have no place for.
        os.environ.update({"IPYTHONDIR": temporary, "JUPYTER_RUNTIME_DIR": temporary})
        import papermill

        return papermill.execute_notebook(
            notebook,
            watched,
            parameters={"params_file": params_file},
            kernel_manager_class=_own_kernel_manager(),
            kernel_name=KERNEL["name"],
            language=KERNEL["language"],  # a stripped notebook may not say
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # of the kernel, which warns at each start
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )


def normalise(notebook):
    """Take out of an executed notebook, in place, what differs between two equal runs."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for key in TEMPORARY_METADATA:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _normalised_outputs(cell.outputs)
    return notebook


def _normalised_outputs(outputs):
    """Without stderr and widgets, addresses blanked, adjacent stdout streams in one."""
    kept = [
        output
        for output in outputs
        if output.get("name") != "stderr" and WIDGET not in output.get("data", {})
    ]
    joined = []
    for output in kept:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        text, key = (output, "text") if "text" in output else (output.get("data", {}), "text/plain")
        if key in text:
            text[key] = _without_addresses(text[key])
    return joined


def _without_addresses(text):
    return re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x…", text)


def _as_text(notebook):
    import nbformat

    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _end_with_parent():
    """End this process when DVC, its parent, is gone: nobody would look after the stage.

    The kernel watches this process in the same way. Both matter after `kill -9`: a stage
    that is started again must not race with one that still runs.
    """

    def watch():
        while os.getppid() == PARENT:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments):
    """Command line; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m di2pose_lib.run_notebook NOTEBOOK PARAMS_FILE", file=sys.stderr)
        return 2
    if "DVC_STAGE" in os.environ:  # set by DVC for its commands
        _end_with_parent()
    try:
        report = run_notebook(*arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # of the notebook, or of the kernel under it
        if getattr(error, "ename", None) == "ValueError":  # a refusal: its sentence will do
            print(f"error: {arguments[0]}: {error.evalue}", file=sys.stderr)
            return 1
        # Tracebacks from a kernel are coloured.
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
        print(f"{text}\nerror: {arguments[0]} failed; no report was written", file=sys.stderr)
        return 1
    print(f"report: {os.path.relpath(report)}")
    return 0


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
