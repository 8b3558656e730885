"""The section ``deploy`` of every recipe: what is deployed, and how it runs in a cluster."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipeline.recipe.data import Section

# As the reference grammar of the OCI distribution has it, without tag and digest.
_IMAGE: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
    r"(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
)
_MOST_CHARACTERS_OF_AN_IMAGE: Final = 255
_CPU: Final = re.compile(r"[1-9][0-9]{0,6}m|(?=.*[1-9])[0-9]{1,4}(?:\.[0-9]{1,3})?")
_MEMORY: Final = re.compile(r"[1-9][0-9]{0,14}(?:[kMGT]|[KMGT]i)?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# What may stand in an address: neither blanks, quotes nor a backslash.
_PRINTABLE: Final = r"[!#-&(-\[\]-~]"
_STORAGE: Final = re.compile(rf"(?:oci\+native|oci|pvc|s3|gs|hf|https?|azure|hdfs)://{_PRINTABLE}+")
_PROMETHEUS: Final = re.compile(rf"https?://{_PRINTABLE}+")


# Keys and values of labels, and names of a Secret or a ConfigMap, as Kubernetes has them.
_SUBDOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL.pattern}(?:\.{_LABEL.pattern})*")
_LABEL_KEY: Final = re.compile(
    rf"(?:(?=[^/]{{1,253}}/){_LABEL.pattern}(?:\.{_LABEL.pattern})*/)?"
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_SERVED_PORT: Final = 3000  # of the service itself, by HTTP


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value) or len(value) > _MOST_CHARACTERS_OF_AN_IMAGE:
        raise ValueError(
            "must be the name of an image without a tag or a digest, in lower case, such as "
            "registry.example.org/team/cells; Graft adds the version itself"
        )
    if "/" not in value:  # which a cluster takes for an image of docker.io/library
        raise ValueError(f"must name its registry too, such as registry.example.org/team/{value}")
    return value


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    """Return a validator that refuses what a pattern does not match, and says what is expected."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"must be {what}")
        return value

    return AfterValidator(check)


def _from_number(value: object) -> object:
    """Take a number, which YAML reads from `cpu: 2`, as text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


_Name = Annotated[str, _matching(_SUBDOMAIN, "a name in Kubernetes: lower-case letters, digits, - and .")]


class Deploy(Section):
    """What is deployed, and how it runs in a cluster.

    Attributes:
        artifact: Name of the published artifact that Triton or the cluster runs; ``null`` for what
            ``graft benchmark`` recommends, or the first. In the image of ``graft package --image`` it is then
            one for CPUs: that one if it is, or else the first that is.
        image: Name of the image in a registry, such as ``registry.example.org/team/cells``, without a tag;
            Kubernetes and KServe need it.
        custom_image: Whether that image is one that you build, and not that of ``graft package --image``; it
            always is for an artifact that needs a GPU.
        image_pull_secret: Name of the Secret with which the cluster takes the image from its registry;
            ``null`` for none.
        trusted_keys: Name of the ConfigMap whose entry ``trusted-keys.pem`` has the keys that may sign a
            bundle, so that the service refuses every other; ``null`` for none.
        namespace: Namespace of the cluster.
        grpc_port: Port on which the service answers gRPC too; ``null`` for none.
        monitor_labels: Labels by which the cluster's Prometheus Operator finds what it watches, such as
            ``{release: prometheus}``.
        replicas: Number of copies that run at least.
        max_replicas: Number of copies that run at most.
        queue: Number of requests that wait in a copy, on average, at which copies are added.
        cpu: CPUs of one copy, such as ``2`` or ``500m``; ``null`` for one.
        memory: Memory of one copy, such as ``768Mi``; ``null`` for what suits the size of the model.
        prometheus: Address of the Prometheus that has the service's metrics.
        storage: Address from which KServe takes the bundle, such as ``pvc://models/cells``; ``null`` for the
            image, which holds it.
    """

    artifact: str | None = None
    image: Annotated[str, AfterValidator(_image)] | None = None
    custom_image: bool = False
    image_pull_secret: _Name | None = None
    trusted_keys: _Name | None = None
    namespace: Annotated[
        str, _matching(_LABEL, "1 to 63 lower-case letters, digits and -, without - at an end")
    ] = "default"
    grpc_port: int | None = Field(default=None, ge=1024, le=65535)
    monitor_labels: dict[
        Annotated[str, _matching(_LABEL_KEY, "the key of a label, such as release")],
        Annotated[str, _matching(_LABEL_VALUE, "the value of a label, such as prometheus")],
    ] = Field(default={})
    replicas: int = Field(default=2, ge=1, le=1000)
    max_replicas: int = Field(default=10, ge=1, le=1000)
    queue: int = Field(default=4, ge=1, le=10_000)
    cpu: (
        Annotated[str, BeforeValidator(_from_number), _matching(_CPU, "CPUs, such as 2, 0.5 or 500m")] | None
    ) = None
    memory: (
        Annotated[
            str,
            BeforeValidator(_from_number),
            _matching(_MEMORY, "an amount of memory, such as 768Mi or 2Gi"),
        ]
        | None
    ) = None
    prometheus: Annotated[str, _matching(_PROMETHEUS, "an address, such as http://prometheus:9090")] = (
        "http://prometheus-operated.monitoring.svc:9090"
    )
    storage: (
        Annotated[str, _matching(_STORAGE, "an address that KServe knows, such as pvc://CLAIM/PATH")] | None
    ) = None

    @model_validator(mode="after")
    def _grows(self) -> Deploy:
        if self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas is {self.max_replicas}, fewer than replicas, {self.replicas}; give that many"
            )
        return self

    @model_validator(mode="after")
    def _has_two_ports(self) -> Deploy:
        if self.grpc_port == _SERVED_PORT:
            raise ValueError(f"grpc_port is {_SERVED_PORT}, which HTTP has; give another, such as 9000")
        return self
