"""The section `deploy`: what a cluster would refuse is refused when the recipe is read."""

from __future__ import annotations

import re

import pytest
import yaml

from pipeline.recipe.deploy import Deploy


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"image": "Registry/Team/Cells"}, "name of an image without a tag"),
        ({"image": "registry.example.org/cells:1.0"}, "without a tag"),
        ({"image": "a/cells@sha256:" + "0" * 64}, "without a tag or a digest"),
        ({"image": "cells"}, "must name its registry too"),
        ({"trusted_keys": "Keys"}, "a name in Kubernetes"),
        ({"image_pull_secret": "a..b"}, "a name in Kubernetes"),
        ({"grpc_port": 3000}, "which HTTP has"),
        ({"grpc_port": 80}, "greater than or equal to 1024"),
        ({"monitor_labels": {"a/b/c": "d"}}, "the key of a label"),
        ({"monitor_labels": {"release": "x y"}}, "the value of a label"),
        ({"namespace": "team_a"}, "lower-case letters"),
        ({"cpu": "0"}, "CPUs, such as"),
        ({"cpu": "2 cores"}, "CPUs, such as"),
        ({"memory": "768MB"}, "768Mi"),
        ({"prometheus": "prometheus:9090"}, "http://"),
        ({"storage": "/mnt/models"}, "pvc://"),
        ({"replicas": 4, "max_replicas": 3}, "fewer than replicas"),
        ({"replicas": 0}, "greater than or equal to 1"),
    ],
)
def test_values_that_a_cluster_would_refuse_are_refused(document: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        Deploy.model_validate(document)


def test_numbers_are_taken_as_yaml_reads_them() -> None:
    assert Deploy.model_validate(yaml.safe_load("{cpu: 2, memory: 2Gi}")).cpu == "2"
    assert Deploy.model_validate(yaml.safe_load("{cpu: 0.5}")).cpu == "0.5"
