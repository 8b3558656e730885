"""The image of a signed bundle: it brings what checks signatures, and its service does, as a container."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.budget.contents import read_contents
from pipeline.errors import GraftError
from pipeline.files.layout import RunFolder
from pipeline.package.container.locks import SIGNING, read_python
from pipeline.package.container.running import ANONYMOUS, Limits, running, unpacked
from pipeline.package.container.writing import write_image
from pipeline.recipe.reading import load_recipe
from pipeline.run.sign import check_signature, sign
from tests.conftest import ROOT
from tests.containers import limit_mb, why_no_real_image, why_not
from tests.signing import make_key


def test_only_signed_bundles_bring_cryptography_in_the_version_that_was_tested() -> None:
    pins = {f"{pin.name}=={pin.version}" for pin in read_python(SIGNING)}
    added = pins - {f"{pin.name}=={pin.version}" for pin in read_python()}
    assert {pin.partition("==")[0] for pin in added} == {"cryptography", "cffi"}
    assert added <= set((ROOT / "constraints.txt").read_text().splitlines())
    assert added & set((ROOT / "serving" / "requirements-signing.txt").read_text().splitlines())


@pytest.mark.slow
def test_a_container_serves_what_is_signed_by_whom_it_is_told_to_trust(
    tiny_run: Path, tmp_path: Path, pictures: Path
) -> None:
    reason = why_not() or why_no_real_image()
    if reason:
        pytest.skip(reason)
    run, pair, other = tmp_path / "run", make_key(tmp_path), make_key(tmp_path, "other")
    shutil.copytree(tiny_run, run)
    sign(run, pair.private)
    recipe = load_recipe(run / "recipe.yaml")
    layout = Path(write_image(recipe, RunFolder(run), tmp_path / "oci").place)
    assert "cryptography" in {package.name for package in read_contents(layout).packages}
    trusting = ANONYMOUS | {"GRAFT_TRUSTED_KEYS": "/etc/trusted.pem"}
    with unpacked(layout) as image:
        shutil.copy(pair.public, image.root / "etc" / "trusted.pem")  # as a container's secret is mounted
        with running(image, Limits(memory_mb=limit_mb(256), has_network=False), trusting) as service:
            assert (
                service.request("POST", "/predict", min(pictures.rglob("*.png")).read_bytes()).status == 200
            )
        shutil.copy(other.public, image.root / "etc" / "trusted.pem")
        refused = pytest.raises(GraftError, match=r"/etc/trusted\.pem does not hold")
        with refused, running(image, Limits(), trusting):
            pass
    assert sign(layout, pair.private).receipts == 1
    assert check_signature(layout, pair.public).receipts == 1
