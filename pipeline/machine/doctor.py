"""What this machine has, found by trying, and what ``auto`` would choose on it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.machine.extras import EXTRAS
from pipeline.machine.versions import installed_versions


@dataclass(frozen=True)
class Cpu:
    """The CPU of this machine.

    Attributes:
        name: Name of the CPU.
        usable: Number of CPUs that this process may use.
        instruction_sets: Those of its instruction sets that decide speed, as Linux names them.
    """

    name: str
    usable: int
    instruction_sets: Sequence[str]


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        cpu: Name, the CPUs this process may use, and the instruction sets that decide speed.
        gpus: Names of the CUDA devices that torch finds.
        packages: Versions of the installed packages.
        providers: ONNX Runtime's compiled-in providers and OpenVINO: ``works``, or why not, from trying.
        extras: For each extra ``installed``, or what installs it.
        training: What `auto` would choose, and why.
        serving: What `graft serve` runs on.
    """

    cpu: Cpu
    gpus: list[str]
    packages: dict[str, str]
    providers: dict[str, str]
    extras: dict[str, str]
    training: str
    serving: str

    def to_text(self) -> str:
        """The diagnosis as lines."""
        features = " ".join(self.cpu.instruction_sets) or "features unknown"
        lines = [
            f"cpu        {self.cpu.name}, {self.cpu.usable} usable, {features}",
            f"gpu        {', '.join(self.gpus) or 'none that torch can use'}",
            f"training   {self.training}",
            f"serving    {self.serving}",
            "providers",
            *(f"  {name:<28}{state}" for name, state in self.providers.items()),
            "extras",
            *(f"  {name:<28}{state}" for name, state in self.extras.items()),
            "packages",
            *(f"  {name:<28}{version}" for name, version in self.packages.items()),
        ]
        return "\n".join(lines)


def examine() -> Diagnosis:
    """Look at the machine; takes a few seconds, because providers are tried and not just listed."""
    import torch

    from pipeline.machine.settings import choose_settings, cpu_flags, cpu_name
    from serving.model.runtimes.machine import cpu_limit

    settings = choose_settings()
    providers = _try_providers()
    return Diagnosis(
        cpu=Cpu(
            name=cpu_name(),
            usable=cpu_limit(),
            instruction_sets=sorted(
                cpu_flags() & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
            ),
        ),
        gpus=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        packages=installed_versions(),
        providers=providers,
        extras={extra.name: "installed" if extra.is_installed() else extra.remedy() for extra in EXTRAS},
        training=f"{settings.device}, {settings.precision}, {settings.threads} threads: {settings.why}; "
        "pictures in channels_last",
        serving="what `graft benchmark RUN` recommends, or else onnx-fp32 on the CPU; "
        "as many requests at once as there are CPUs",
    )


def _try_providers() -> dict[str, str]:
    from serving.model.errors import ServingError
    from serving.model.runtimes.onnx import PROVIDERS, OnnxSession
    from serving.model.runtimes.ort import load_onnxruntime

    runtimes = {provider: runtime for runtime, provider in PROVIDERS.items()}
    states = {}
    with tempfile.TemporaryDirectory(prefix="graft-doctor-") as folder:
        model = Path(folder) / "identity.onnx"
        model.write_bytes(_identity_model())
        for provider in load_onnxruntime().get_available_providers():
            if provider not in runtimes:
                states[provider] = "compiled in; not used by this release"
                continue
            try:
                OnnxSession(model, runtime=runtimes[provider])
                states[provider] = "works"
            except ServingError as error:
                states[provider] = f"does not load: {error.message}"
    return states | {"OpenVINO": _try_openvino()}


def _try_openvino() -> str:
    from serving.model.errors import ServingError
    from serving.model.runtimes.openvino import has_bf16

    try:
        return "works" if has_bf16() else "works, but this CPU has no bf16"
    except ServingError as error:
        return error.message


def _identity_model() -> bytes:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "add", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()  # type: ignore[no-any-return]
