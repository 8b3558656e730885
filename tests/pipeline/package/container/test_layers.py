"""Layers: the same files give the same bytes."""

from __future__ import annotations

import random
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.package.container.entries import SITE, Member
from pipeline.package.container.layers import write_layer
from pipeline.package.container.pruning import STDLIB, prune, strip_elf

NAMES = st.text(alphabet="abcé.-_", min_size=1, max_size=120).filter(lambda name: name not in {".", ".."})


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8), st.randoms(use_true_random=False))
def test_order_of_the_files_changes_nothing(files: dict[str, bytes], order: random.Random) -> None:
    entries = [Member(f"usr/{name}", content=content) for name, content in files.items()]
    shuffled = order.sample(entries, len(entries))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        assert write_layer(Path(first), entries) == write_layer(Path(second), shuffled)


@pytest.mark.parametrize(
    "path",
    [
        f"{STDLIB}/test/test_os.py",
        f"{STDLIB}/ensurepip/_bundled/pip.whl",
        f"{SITE}/numpy/tests/test_matlib.py",
        f"{SITE}/onnxruntime/quantization/quantize.py",
        f"{SITE}/numpy-2.4.6.dist-info/RECORD",
        "usr/share/doc/libc6/changelog.gz",
        "usr/bin/ldd",
        "usr/sbin/ldconfig",
        "usr/lib/x86_64-linux-gnu/gconv/UTF-7.so",
    ],
)
def test_what_no_service_reads_is_left_out(path: str) -> None:
    assert list(prune([Member(path, content=b"")])) == []


@pytest.mark.parametrize(
    "path",
    [
        f"{STDLIB}/json/decoder.py",
        f"{SITE}/numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
        f"{SITE}/numpy-2.4.6.dist-info/METADATA",
        f"{SITE}/numpy-2.4.6.dist-info/licenses/LICENSE.txt",
        "usr/share/doc/libc6/copyright",
        "usr/bin/python3.11",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
    ],
)
def test_what_runs_and_what_licences_say_stays(path: str) -> None:
    assert [entry.path for entry in prune([Member(path, content=b"")])] == [path]


def test_stripped_library_keeps_what_its_program_headers_name() -> None:
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 32, 64)  # program headers behind the header
    struct.pack_into("<Q", header, 40, 1000)  # sections at the end
    struct.pack_into("<HHHHH", header, 54, 56, 1, 64, 5, 4)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 200, 300, 4096)
    library = bytes(header) + segment + b"c" * 80 + b"debug" * 500
    stripped = strip_elf(library)
    assert len(stripped) == 200
    assert stripped[64:] == library[64:200]
    assert struct.unpack_from("<Q", stripped, 40) == (0,)
    assert struct.unpack_from("<HH", stripped, 60) == (0, 0)


@pytest.mark.parametrize("rest", [b"", b"\xff" * 80], ids=["short", "senseless"])
def test_library_that_cannot_be_understood_stays_as_it_is(rest: bytes) -> None:
    data = b"\x7fELF\x02\x01" + rest
    assert strip_elf(data) == data
