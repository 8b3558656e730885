"""The models in the cache of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def cached_folders() -> Iterator[tuple[str, Path]]:
    """Yield the name of each model in the cache of Hugging Face, and the folder of its newest revision."""
    from huggingface_hub import constants, scan_cache_dir

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return
    for repository in sorted(scan_cache_dir().repos, key=lambda each: each.repo_id):
        revisions = sorted(repository.revisions, key=lambda each: each.last_modified)
        if repository.repo_type == "model" and revisions:
            yield repository.repo_id, revisions[-1].snapshot_path
