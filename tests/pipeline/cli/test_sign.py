"""The commands `graft sign` and `graft verify --signature`, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from tests.conftest import ROOT, run_graft
from tests.serving.processes import UNSHARE
from tests.signing import make_image, make_key, write_private

READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def graft(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, ["--quiet", *map(str, arguments)])


@pytest.mark.slow
def test_a_run_is_signed_and_its_signature_checked(run: Path, tmp_path: Path) -> None:
    pair, other = make_key(tmp_path), make_key(tmp_path, "other")
    assert run_graft("sign", run, "--key", pair.private).stdout.startswith(
        f"{run}/bundle/model.sig: 5 files of tiny, by key "
    )
    signed = json.loads(graft("sign", run / "bundle", "--key", pair.private, "--json").stdout)
    assert (signed["files"], signed["receipts"], signed["certificate"]) == (5, 1, None)
    assert (
        "all files as they were (5), and its receipts (1)"
        in run_graft("verify", run, "--signature", "--key", pair.public).stdout
    )
    checked = json.loads(graft("verify", run, "--signature", "--key", pair.public, "--json").stdout)
    assert checked["key"] == signed["key"]
    foreign = graft("verify", run, "--signature", "--key", other.public)
    assert (foreign.exit_code, "does not hold" in foreign.stderr) == (3, True)
    (run / "bundle" / "model.sig").unlink()
    unsigned = graft("verify", run, "--signature", "--key", pair.public)
    assert (unsigned.exit_code, "is not signed" in unsigned.stderr) == (3, True)


@pytest.mark.slow
def test_the_run_stays_done_when_it_is_signed(run: Path, tmp_path: Path) -> None:
    graft("sign", run, "--key", make_key(tmp_path).private)
    log = run_graft("verify", run).stderr
    assert "verify: unchanged, skipped" in log
    assert (run / "bundle" / "model.sig").is_file()


@pytest.mark.slow
def test_a_bundle_that_is_not_proven_is_not_signed(run: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path).private
    receipt = run / "bundle" / "receipts" / "onnx-fp32.json"
    receipt.write_text(receipt.read_text().replace('"passed": true', '"passed": false'))
    refused = graft("sign", run, "--key", key)
    assert (refused.exit_code, str(receipt) in refused.stderr) == (1, True)
    receipt.unlink()
    assert graft("sign", run, "--key", key).exit_code == 1
    assert not list(run.rglob("*.sig"))


@pytest.mark.slow
def test_a_run_that_another_command_works_on_is_not_signed(run: Path, tmp_path: Path) -> None:
    import fcntl

    with (run / ".stages" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = graft("sign", run, "--key", make_key(tmp_path).private)
    assert (refused.exit_code, "another graft command" in refused.stderr) == (1, True)


@pytest.mark.slow
def test_a_statement_about_other_receipts_is_refused(run: Path, tmp_path: Path) -> None:
    """The key signs receipts.sig of another bundle, and then the files with it."""
    from pipeline.signing.keys import Signer
    from pipeline.signing.statements import state_files, state_receipts
    from serving.model.bundle import open_bundle
    from serving.model.files import hash_file
    from serving.model.signature import list_files

    pair = make_key(tmp_path)
    bundle, signer = run / "bundle", Signer(pair.key)
    statement = state_receipts(open_bundle(bundle))
    model = statement.predicate.model.model_copy(update={"version": "0"})
    other = statement.model_copy(
        update={"predicate": statement.predicate.model_copy(update={"model": model})}
    )
    for content, reason in (
        (other.to_bytes(), "about other receipts"),
        (b"{}", "no statement about receipts"),
    ):
        (bundle / "receipts.sig").write_bytes(signer.sign(content))
        digests = {name: hash_file(bundle / name) for name in list_files(bundle)}
        (bundle / "model.sig").write_bytes(signer.sign(state_files("tiny", digests)))
        refused = graft("verify", run, "--signature", "--key", pair.public)
        assert (refused.exit_code, reason in refused.stderr) == (3, True)


def test_an_image_is_signed_and_its_signature_checked(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    assert "6 files of image" in graft("sign", image, "--key", pair.private).stdout
    assert graft("verify", image, "--signature", "--key", pair.public).exit_code == 0
    (image / "index.json").write_text("{}")
    assert graft("verify", image, "--signature", "--key", pair.public).exit_code == 3


@pytest.mark.slow
def test_nothing_beside_what_is_named_is_checked_or_signed_instead(run: Path, tmp_path: Path) -> None:
    """A bundle with another one in it, and a run with an image beside its bundle."""
    pair = make_key(tmp_path)
    graft("sign", run, "--key", pair.private)
    bundle = Path(shutil.copytree(run / "bundle", tmp_path / "outer"))
    (bundle / "model.onnx").write_bytes(b"evil")
    shutil.copytree(run / "bundle", bundle / "bundle")
    checked = graft("verify", bundle, "--signature", "--key", pair.public)
    assert (checked.exit_code, "bundle/manifest.json" in checked.stderr) == (3, True)
    assert graft("sign", bundle, "--key", pair.private).exit_code == 1
    make_image(run / "layout")
    graft("sign", run / "layout", "--key", pair.private)
    for target in (run, Path(shutil.copytree(run / "layout", run / "bundle" / "layout")).parent):
        for command in (["verify", target, "--signature", "--key", pair.public],
                        ["sign", target, "--key", pair.private]):  # fmt: skip
            refused = graft(*command)
            assert (refused.exit_code, "Name the one that is meant" in refused.stderr) == (1, True)
    shutil.rmtree(run / "bundle")
    refused = graft("verify", run, "--signature", "--key", pair.public)
    assert (refused.exit_code, "Name the one that is meant" in refused.stderr) == (1, True)


def test_targets_that_are_none_are_errors(tmp_path: Path) -> None:
    pair = make_key(tmp_path)
    for target, reason in ((tmp_path / "missing", "no such folder"), (tmp_path, "this is not a bundle")):
        refused = graft("sign", target, "--key", pair.private)
        assert (refused.exit_code, reason in refused.stderr) == (1, True)
    refused = graft("verify", tmp_path / "missing", "--signature", "--key", pair.public)
    assert (refused.exit_code, "no such folder" in refused.stderr) == (1, True)


def test_an_image_in_another_form_is_refused_with_the_way_to_the_layout(tmp_path: Path) -> None:
    pair, folder, archive = make_key(tmp_path), tmp_path / "dir", tmp_path / "image.tar"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    archive.touch()
    for target, form in ((folder, "dir"), (archive, "oci-archive")):
        for command in (["verify", target, "--signature", "--key", pair.public],
                        ["sign", target, "--key", pair.private]):  # fmt: skip
            refused = graft(*command)
            assert refused.exit_code == 1
            assert f"skopeo copy {form}:{target} oci:FOLDER" in refused.stderr.replace("\n", " ")


def test_keys_to_trust_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    refused = graft("verify", image, "--signature", "--key", pair.private)
    assert (refused.exit_code, "holds a PRIVATE KEY" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    "options",
    [
        ["--signature"],
        ["--key", "K"],
        ["--signature", "--key", "K", "--force"],
        ["--signature", "--key", "K", "--data", "D"],
        ["--signature", "--key", "K", "--run", "R"],
        ["--signature", "--key", "K", "--data-root", "R"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_a_usage_error(options: list[str]) -> None:
    assert graft("verify", "run", *options).exit_code == 2


def test_nothing_is_signed_where_nothing_can_be_written(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    command = [*UNSHARE, "sh", "-c", READ_ONLY, image, sys.executable, "-m", "pipeline.cli"]
    done = subprocess.run(
        [*map(str, command), "sign", str(image), "--key", str(pair.private)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"{image}/model.sig: cannot be written" in done.stderr
    assert "nothing is signed" in done.stderr
    assert not (image / "model.sig").exists()


def test_a_password_comes_from_the_environment(tmp_path: Path) -> None:
    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    write_private(pair.private, pair.key, "secret")
    without = run_graft("sign", image, "--key", pair.private, env={"GRAFT_KEY_PASSWORD": "wrong"}, check=1)
    assert "cannot be read with this password" in without.stderr
    run_graft("sign", image, "--key", pair.private, env={"GRAFT_KEY_PASSWORD": "secret"})
    assert (image / "model.sig").is_file()


def test_a_password_is_asked_for_at_a_terminal_and_not_shown(tmp_path: Path) -> None:
    import pty

    pair, image = make_key(tmp_path), make_image(tmp_path / "image")
    write_private(pair.private, pair.key, "secret")
    terminal, other_end = pty.openpty()
    command = [sys.executable, "-m", "pipeline.cli", "sign", str(image), "--key", str(pair.private)]
    environment = {name: value for name, value in os.environ.items() if name != "GRAFT_KEY_PASSWORD"}
    process = subprocess.Popen(
        command, stdin=other_end, stdout=other_end, stderr=other_end, cwd=ROOT, env=environment,
        start_new_session=True,
    )  # fmt: skip
    os.close(other_end)
    shown = os.read(terminal, 1000)
    os.write(terminal, b"secret\n")
    assert process.wait(60) == 0
    while True:
        try:
            shown += os.read(terminal, 1000)
        except OSError:  # the terminal's other end is closed
            break
    assert b"Password of the key" in shown
    assert b"secret" not in shown
    assert (image / "model.sig").is_file()
