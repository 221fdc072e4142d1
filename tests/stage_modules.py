"""Which library modules a stage uses, read off the source: what dvc.yaml must list.

`python tests/stage_modules.py` writes the lists into dvc.yaml and its copies, and those of
programs into theirs; tests hold them to it. The search starts from a stage's notebook, or
from the ledger's module, and follows names, definition by definition: importing `stages`
alone drags in nothing, calling `stages.prepared_data` what that function names. Functions
that make another stage's artefact are not followed: under DVC a stage only loads it, and
depends on the artefact itself.
"""

import ast
import json
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "di2pose_lib"
PIPELINES = [ROOT, *(ROOT / "pipelines" / name for name in ("mocap", "paper", "smoke"))]


def notebook_source(path):
    """The code cells of a notebook as one Python source, without magics."""
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"^\s*[%!].*$", "", code, flags=re.MULTILINE)


class Source:
    """The library names that a module or notebook imports, and its own definitions."""

    def __init__(self, text):
        self.imported, self.definitions, self.loose = {}, {}, []
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                for alias in node.names:
                    if node.module == PACKAGE:
                        self.imported[alias.asname or alias.name] = (alias.name, None)
                    elif node.module.startswith(f"{PACKAGE}."):
                        module = node.module.removeprefix(f"{PACKAGE}.")
                        self.imported[alias.asname or alias.name] = (module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith(f"{PACKAGE}."):
                        assert alias.asname, f"write `from {PACKAGE} import …`; got {alias.name}"
                        module = alias.name.removeprefix(f"{PACKAGE}.")
                        self.imported[alias.asname] = (module, None)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign):
                for target in ast.walk(ast.Tuple(node.targets)):
                    if isinstance(target, ast.Name):
                        self.definitions[target.id] = node
            elif not isinstance(node, (ast.Import, ast.ImportFrom)):
                self.loose.append(node)


@cache
def library_source(module):
    return Source((ROOT / PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def _makes(function):
    """(stage, names of the functions that make its artefact) where `function` asks for one."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "artifact":
            stage, *makers = node.args
            return stage.value, {maker.id for maker in makers}
    return None, set()


def _followed(node, stage):
    """The nodes under a definition, without the makers of another stage's artefact."""
    made, makers = _makes(node) if isinstance(node, ast.FunctionDef) else (None, set())
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) and made not in (None, stage) and node.name in makers:
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def _named(source, module, nodes):
    """(module, definition) of every library name under `nodes`; definition None: all of it."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target = source.imported.get(node.value.id)
            if target and target[1] is None:
                yield target[0], node.attr
        elif isinstance(node, ast.Name):
            if node.id in source.definitions and module:
                yield module, node.id
            elif source.imported.get(node.id, ("", None))[1]:
                yield source.imported[node.id]


def modules_used(source, stage):
    """Sorted names of the library modules that the code of a stage's `Source` reaches."""
    everything = [*source.definitions.values(), *source.loose]
    waiting = list(_named(source, None, (n for top in everything for n in ast.walk(top))))
    seen, modules = set(), set()
    while waiting:
        module, name = waiting.pop()
        if (module, name) in seen:
            continue
        seen.add((module, name))
        library = library_source(module)
        if module not in modules:  # what runs when it is imported
            modules.add(module)
            loose = (n for top in library.loose for n in ast.walk(top))
            waiting.extend(_named(library, module, loose))
        if name in library.definitions:
            nodes = _followed(library.definitions[name], stage)
            waiting.extend(_named(library, module, nodes))
        elif name in library.imported:  # a name that the module only passes on
            waiting.append(library.imported[name])
        else:
            raise AssertionError(f"{stage}: {PACKAGE}.{module} has no `{name}`")
    return sorted(modules)


def stage_notebooks():
    """{stage: notebook} in the order of dvc.yaml."""
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    return {
        stage: ROOT / notebook
        for stage, notebook in re.findall(
            r"^  (\w+):\n    cmd: .*?\$\{root\}/(notebooks/\S+\.ipynb)", text, flags=re.MULTILINE
        )
    }


PROGRAMS = {"ledger": "ledger", "protocol_results": "protocols"}  # module: its pipeline


def program_modules(program):
    """Sorted names of the library modules that `python -m di2pose_lib.<program>` runs."""
    source = Source((ROOT / PACKAGE / f"{program}.py").read_text(encoding="utf-8"))
    return sorted({program, *modules_used(source, program)})


def _write():
    path = ROOT / "dvc.yaml"
    text = path.read_text(encoding="utf-8")
    for stage, notebook in stage_notebooks().items():
        if not notebook.is_file():
            print(f"{stage}: no {notebook.name} yet, left as it is", file=sys.stderr)
            continue
        modules = modules_used(Source(notebook_source(notebook)), stage)
        lines = "".join(f"      - ${{root}}/{PACKAGE}/{module}.py\n" for module in modules)
        section = re.compile(
            rf"(^  {stage}:\n(?:    .*\n)*?)((?:      - \$\{{root\}}/{PACKAGE}/\w+\.py\n)+)",
            flags=re.MULTILINE,
        )
        text, count = section.subn(lambda match, new=lines: match[1] + new, text)
        assert count == 1, stage
    for pipeline in PIPELINES:
        (pipeline / "dvc.yaml").write_text(text, encoding="utf-8")
    for program, pipeline in PROGRAMS.items():
        path = ROOT / "pipelines" / pipeline / "dvc.yaml"
        listed = [f"- ../../{PACKAGE}/{module}.py\n" for module in program_modules(program)]
        section = re.compile(rf"(?:( +)- \.\./\.\./{PACKAGE}/\w+\.py\n)+")
        text = path.read_text(encoding="utf-8")
        *_, found = section.finditer(text)  # the last list is the program's
        lines = "".join(found[1] + line for line in listed)
        path.write_text(text[: found.start()] + lines + text[found.end() :], encoding="utf-8")


if __name__ == "__main__":
    _write()
