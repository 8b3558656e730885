"""The built Bento, served by BentoML alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bentoml
import httpx
import pytest
import yaml

from serving.predictor import load_predictor
from tests.conftest import ROOT, free_port, make_picture, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tags(tiny_run: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((tiny_run / "package" / "bento.json").read_text())
    return found


def test_bentoml_serve_of_the_built_tag_answers_like_the_predictor(tiny_run: Path, tags: dict[str, str]) -> None:
    port, picture = free_port(), make_picture("plain", 930)
    with serving([sys.executable, "-m", "bentoml", "serve", tags["bento"], "--port", str(port)], port) as url:
        answer = httpx.post(f"{url}/predict", files={"image": ("x.png", picture)})
    assert answer.json() == load_predictor(tiny_run / "bundle").predict(picture).to_json()


def test_bento_holds_the_service_and_no_training_code(tags: dict[str, str]) -> None:
    bento = bentoml.get(tags["bento"])
    files = {path.relative_to(Path(bento.path) / "src").as_posix() for path in (Path(bento.path) / "src").rglob("*.py")}
    assert "serving/service.py" in files
    assert not any(name.startswith("pipeline") for name in files)
    requirements = (Path(bento.path) / "env" / "python" / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "torch" not in requirements.replace("without torch", "")
    assert str(bento.info.all_models[0].tag) == tags["model"]


def test_model_in_the_store_is_the_bundle(tiny_run: Path, tags: dict[str, str]) -> None:
    stored = Path(bentoml.models.get(tags["model"]).path)
    for name in ("manifest.json", "model.onnx", "receipts/onnx-fp32.json"):
        assert (stored / name).read_bytes() == (tiny_run / "bundle" / name).read_bytes()


def test_service_requirements_are_pinned_as_tested() -> None:
    pinned = [line for line in (ROOT / "serving" / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(pinned) <= set(tested)
    assert yaml.safe_load((ROOT / "bentofile.yaml").read_text())["service"] == "serving.service:GraftService"
