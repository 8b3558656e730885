from __future__ import annotations

from pipeline.data.splits.member import Member
from pipeline.data.splits.mix import describe_mix
from pipeline.files.samples import Split


def test_describe_mix_shows_counts_shares_and_what_deviates_most() -> None:
    splits: list[Split] = ["train"] * 3 + ["test"] + ["train", "validation"]
    members = [Member(str(place), "cat" if place < 4 else "a\tdog\x1b[0m") for place in range(6)]
    assert describe_mix(members, splits) == (
        "label              train  validation       test\n"
        "cat            3  75.0 %   0   0.0 %  1  25.0 %\n"
        "a\\tdog\\x1b[0m  1  50.0 %   1  50.0 %  0   0.0 %\n"
        "all labels     4  66.7 %   1  16.7 %  1  16.7 %\n"
        "largest deviation: 33.3 points (a\\tdog\\x1b[0m in validation: 1  50.0 %)"
    )


def test_describe_mix_shows_twenty_labels_at_most() -> None:
    members = [Member(str(place), f"label{place % 1_500:04}") for place in range(3_000)]
    lines = describe_mix(members, ["train", "test"] * 1_500).splitlines()
    assert len(lines) == 24
    assert lines[21] == "… and 1,480 more"
