"""What outdates a stage: of the source files, those that make its result, and no others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from pipeline.recipe.stage import Stage
from pipeline.run.fingerprints import CODE_SUFFIXES, code_files, hash_code, roots_of
from pipeline.run.imports import import_closure
from pipeline.run.stages import STAGES
from tests.conftest import ROOT

KINDS = ("image", "text")
TEMPLATES = {
    "pipeline/data/draft/recipe.yaml.jinja": set(),
    "pipeline/evaluate/parts.html.jinja": {"evaluate"},
    "pipeline/evaluate/report.html.jinja": {"evaluate"},
    "pipeline/evaluate/score.html.jinja": {"evaluate"},
    "pipeline/evaluate/styled.html.jinja": {"evaluate"},
    "pipeline/evaluate/training.html.jinja": {"evaluate"},
    "pipeline/modalities/image/recipe.yaml.jinja": set(),
    "pipeline/modalities/text/recipe.yaml.jinja": set(),
    "pipeline/package/bento/README.md.jinja": {"package"},
    "pipeline/compare/report.html.jinja": set(),
    "pipeline/search/report.html.jinja": set(),
    "pipeline/reporting/page.html.jinja": {"evaluate", "verify"},
    "pipeline/verify/report.html.jinja": {"verify"},
}
# Appends a comment, which changes no import, to each group of files in turn, and prints which stages that
# outdates.
CHANGE_EACH = """
import json, pathlib, sys
from pipeline.files.layout import RunFolder
from pipeline.run import fingerprints
from pipeline.run.stages import STAGES

def state():
    fingerprints.hash_code.cache_clear()
    codes = {stage.name: fingerprints.hash_code(*fingerprints.roots_of(stage, "image")) for stage in STAGES}
    return codes | {"bento": STAGES[-1].inputs(None, RunFolder(pathlib.Path("nowhere")))}

before, outdated = state(), []
for names in json.loads(sys.argv[1]):
    contents = {pathlib.Path(name): pathlib.Path(name).read_bytes() for name in names}
    for path, content in contents.items():
        path.write_bytes(content + b"\\n# changed\\n")
    after = state()
    for path, content in contents.items():
        path.write_bytes(content)
    outdated.append([key for key in before if before[key] != after[key]])
print(json.dumps(outdated))
"""


# Rendered when `graft package --target` is called, and by no stage.
OF_TARGETS = tuple(f"pipeline/package/{room}/" for room in ("container", "kubernetes", "triton"))


def closure_of(stage: Stage, kind: str = "image") -> frozenset[str]:
    return import_closure(*roots_of(stage, kind))


def with_parents(modules: set[str]) -> set[str]:
    return {
        ".".join(parts[: count + 1])
        for parts in (m.split(".") for m in modules)
        for count in range(len(parts))
    }


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "serving", exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_code_of_a_stage_is_what_grimp_says_that_it_imports(
    graph: grimp.ImportGraph, stage: Stage, kind: str
) -> None:
    expected, known = set(roots_of(stage, kind)), set[str]()
    while expected != known:  # a parent package may import more
        known = expected
        upstream = (graph.find_upstream_modules(module) for module in known)
        expected = with_parents(known.union(*upstream))
    assert closure_of(stage, kind) == expected
    assert len(expected) < len(graph.modules) / 2


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_stage_imports_the_server_the_client_or_the_commands(stage: Stage) -> None:
    wings = ("serving.server", "serving.client", "serving.service", "pipeline.cli", "pipeline.run")
    assert [module for module in closure_of(stage) if module.startswith(wings)] == []


def test_a_run_does_not_depend_on_other_kinds_of_input() -> None:
    for stage in STAGES:
        for kind, other in zip(KINDS, reversed(KINDS), strict=True):
            rooms = (f"pipeline.modalities.{other}.", f"serving.model.inputs.{other}.")
            assert [module for module in closure_of(stage, kind) if module.startswith(rooms)] == []


def test_every_template_outdates_the_stages_that_render_it() -> None:
    found: dict[str, set[str]] = {path: set() for path in templates()}
    for stage in STAGES:
        for name in code_files(closure_of(stage)).keys() & found.keys():
            found[name].add(stage.name)
    of_targets = {name: stages for name, stages in found.items() if name.startswith(OF_TARGETS)}
    assert not any(of_targets.values()), "what is made of a bundle for others outdates no stage"
    assert {name: stages for name, stages in found.items() if name not in of_targets} == TEMPLATES


def templates() -> Iterator[str]:
    for path in (ROOT / "pipeline").rglob("*"):
        if path.is_file() and path.suffix not in CODE_SUFFIXES:
            yield path.relative_to(ROOT).as_posix()


def test_hash_code_names_files_and_does_not_depend_on_where_they_lie() -> None:
    files = code_files(closure_of(STAGES[0]))
    assert files["pipeline/data/stage.py"] == ROOT / "pipeline" / "data" / "stage.py"
    assert files["pipeline/__init__.py"] == ROOT / "pipeline" / "__init__.py"
    assert len({hash_code(*roots_of(stage, "image")) for stage in STAGES}) == len(STAGES)


def test_a_change_of_a_file_outdates_the_stages_that_use_it_and_no_others(tmp_path: Path) -> None:
    copies = [shutil.copytree(ROOT / name, tmp_path / name) for name in ("pipeline", "serving")]
    shutil.copy(ROOT / "bentofile.yaml", tmp_path)
    for cache in (cache for copy in copies for cache in copy.rglob("__pycache__")):
        shutil.rmtree(cache)
    server, client = (
        [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "serving" / wing).rglob("*.*")]
        for wing in ("server", "client")
    )
    training = ["finetune", "transfer", "evaluate", "export", "verify"]
    expected = (
        (server, ["bento"]),
        (client, ["bento"]),
        (["serving/server/handlers/pages/page.html"], ["bento"]),
        (["serving/client/client.py"], ["bento"]),
        (["serving/service/application.py"], ["bento"]),
        (["serving/requirements.txt"], ["bento"]),
        (["bentofile.yaml"], ["bento"]),
        (["pipeline/files/samples.py"], ["data", *training]),
        (["pipeline/finetune/course/loop.py"], ["finetune", "transfer"]),
        (["pipeline/transfer/scratch.py"], ["transfer"]),
        (["pipeline/measures/metrics.py"], ["evaluate", "verify"]),
        (["pipeline/reporting/page.html.jinja"], ["evaluate", "verify"]),
        (["pipeline/verify/receipt.py"], ["verify"]),
        (["pipeline/package/bento/describing.py"], ["package"]),
        (["serving/model/inputs/image/pixels.py"], ["data", *training, "bento"]),
        (["serving/model/inputs/image/kind.py"], ["data", *training, "bento"]),
        (["serving/model/inputs/text/kind.py"], ["bento"]),
        (["serving/model/bundle.py"], ["verify", "package", "bento"]),
        (["pipeline/run/runner.py", "pipeline/cli/run.py", "pipeline/benchmark/stage.py"], []),
    )
    groups = json.dumps([names for names, _ in expected])
    done = subprocess.run(
        [sys.executable, "-c", CHANGE_EACH, groups], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(zip(json.loads(groups), json.loads(done.stdout), strict=True)) == list(expected)
    assert len(server) > len(client) > 1
