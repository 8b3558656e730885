"""Asks a service by Triton's own client, in the environment that it needs, and prints what came as JSON.

.venv/triton/bin/python triton_client.py ADDRESS MODEL PICTURES.npz [KEY] [CERTIFICATE]
"""

from __future__ import annotations

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

address, model, arrays, key, certificate = [*sys.argv[1:], "", ""][:5]
headers = {"authorization": f"Bearer {key}"} if key else None
client = triton.InferenceServerClient(address, ssl=bool(certificate), root_certificates=certificate or None)
given = np.load(arrays, allow_pickle=False)
files = np.array([given[name].tobytes() for name in ("first", "second")], dtype=object)


def tensor(array: np.ndarray, datatype: str) -> triton.InferInput:
    made = triton.InferInput("image", [*array.shape], datatype)
    made.set_data_from_numpy(array)
    return made


def read(result: triton.InferResult) -> dict:
    labels = [label.decode() for label in result.as_numpy("label").ravel()]
    return {"probabilities": result.as_numpy("probabilities").tolist(), "labels": labels}


def refusal(**changes: object) -> str:
    arguments = {"model_name": model, "inputs": [tensor(files, "BYTES")], "headers": headers} | changes
    try:
        client.infer(**arguments)
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "answered"


metadata = client.get_model_metadata(model, headers=headers, as_json=True)
bytes_result = client.infer(
    model, [tensor(files, "BYTES")], model_version=metadata["versions"][0], request_id="7", headers=headers
)
answers: queue.Queue = queue.Queue()
client.async_infer(
    model,
    [tensor(files, "BYTES")],
    callback=lambda result, error: answers.put((result, error)),
    headers=headers,
)
async_result, error = answers.get(timeout=20)
assert error is None, error
ranked = client.infer(
    model,
    [tensor(files, "BYTES")],
    outputs=[triton.InferRequestedOutput("probabilities", class_count=1)],
    headers=headers,
).as_numpy("probabilities")
shared = {
    f"{message}.{field.name}": (field.number, field.type)
    for message in ("ModelInferRequest", "ModelInferResponse", "InferParameter", "InferTensorContents")
    for field in getattr(service_pb2, message).DESCRIPTOR.fields
}
print(  # noqa: T201 - the test reads it
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model, headers=headers),
            "server": client.get_server_metadata(headers=headers, as_json=True),
            "model": metadata,
            "bytes": read(bytes_result),
            "id": bytes_result.get_response().id,
            "async": read(async_result),
            "pixels": read(client.infer(model, [tensor(given["pixels"], "UINT8")], headers=headers)),
            "ranked": [text.decode() for text in ranked.ravel()],
            "unknown model": refusal(model_name="nobody"),
            "unknown version": refusal(model_version="7"),
            "no picture": refusal(inputs=[tensor(np.array([b"x"], dtype=object), "BYTES")]),
            "no key": refusal(headers=None),
            "late": refusal(inputs=[tensor(np.tile(files, 8), "BYTES")], client_timeout=1e-4),
            "fields": shared,
        }
    )
)
