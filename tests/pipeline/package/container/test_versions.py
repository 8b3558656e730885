"""The order of Debian's versions, beside dpkg's own."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.package.container.versions import DebianVersion

PARTS = st.text(alphabet="012a~+.Z", max_size=6)
VERSIONS = st.builds(
    lambda epoch, upstream, revision: f"{epoch}1{upstream}{revision}",
    st.sampled_from(["", "0:", "2:"]),
    PARTS,
    PARTS.map(lambda part: f"-{part or '0'}") | st.just(""),
)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is of Debian")
@settings(max_examples=60, deadline=None)
@given(VERSIONS, VERSIONS)
def test_debian_version_is_ordered_as_dpkg_orders_it(left: str, right: str) -> None:
    for operator, expected in (("lt", "<"), ("eq", "=="), ("gt", ">")):
        answer = subprocess.run(["dpkg", "--compare-versions", left, operator, right], check=False)
        first, second = DebianVersion(left), DebianVersion(right)
        ours = {"<": first < second, "==": first == second, ">": first > second}[expected]
        assert ours == (answer.returncode == 0), (left, operator, right)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2.36-9+deb12u9", "2.36-9+deb12u10"),
        ("1.0~rc1-1", "1.0-1"),
        ("9.9-1", "1:0.1-1"),
        ("3.0.15-1~deb12u1", "3.0.15-1"),
        ("12", "12-1"),
    ],
)
def test_debian_version_comes_before_a_later_one(earlier: str, later: str) -> None:
    assert DebianVersion(earlier) < DebianVersion(later)
    assert not DebianVersion(later) < DebianVersion(earlier)
