"""The ONNX file of one node that stands for a TensorRT plan, so that ONNX Runtime loads the plan."""

from __future__ import annotations

import hashlib

from pipeline.errors import GraftError
from serving.model.runtimes.plan import TENSORRT, Plan

CONTEXT_DOMAIN = "com.microsoft"


def wrap_plan(source: bytes, plan: Plan) -> bytes:
    """Write the ONNX file that stands for a plan beside it.

    The file has one node, an EPContext, and the inputs, the outputs and the metadata of the file that the
    plan was built from. ONNX Runtime finds the plan only below the folder of this file, which must be loaded
    by its path.

    Args:
        source: The bytes of the ONNX file that the plan was built from.
        plan: The record of the plan, which goes into the metadata as ``graft.plan``.

    Returns:
        The file's bytes, the same for the same arguments.

    Raises:
        GraftError: The plan was built from another file.
    """
    if hashlib.sha256(source).hexdigest() != plan.onnx_sha256:
        raise GraftError(f"{plan.file}: was built from another ONNX file. Export again.")
    import onnx
    from onnx import helper

    document = onnx.load_from_string(source)
    inputs, outputs = list(document.graph.input), list(document.graph.output)
    node = helper.make_node(
        "EPContext",
        [value.name for value in inputs],
        [value.name for value in outputs],
        name="plan",
        domain=CONTEXT_DOMAIN,
        main_context=1,
        embed_mode=0,
        ep_cache_context=plan.file,
        ep_sdk_version=plan.tensorrt_version,
        # as ONNX Runtime writes it: 90 for 9.0
        hardware_architecture=plan.compute_capability.replace(".", ""),
        source=TENSORRT,
    )
    wrapped = helper.make_model(
        helper.make_graph([node], "plan", inputs, outputs),
        opset_imports=[*document.opset_import, helper.make_opsetid(CONTEXT_DOMAIN, 1)],
        ir_version=document.ir_version,
    )
    metadata = {item.key: item.value for item in document.metadata_props}
    metadata["graft.plan"] = plan.model_dump_json()
    helper.set_model_props(wrapped, dict(sorted(metadata.items())))
    return wrapped.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
