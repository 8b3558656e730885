"""Asks a Triton server by its own client, in the environment that has it: JSON in, JSON out.

A job is `{"model", "input", "items": [base64, ...], "classes"}`, or `{"model", "config": true}`. It is
answered by rows, by an error's message, or by the configuration. All jobs with items are sent before any
answer is read.
"""

import base64
import json
import sys

import numpy as np
import tritonclient.grpc as triton


def send(client, job):
    items = [[base64.b64decode(item)] for item in job["items"]]
    tensor = triton.InferInput(job["input"], [len(items), 1], "BYTES")
    tensor.set_data_from_numpy(np.array(items, dtype=np.object_))
    wanted = [triton.InferRequestedOutput("probabilities", class_count=job.get("classes", 0))]
    answers = []
    client.async_infer(
        job["model"], [tensor], lambda result, error: answers.append((result, error)), outputs=wanted
    )
    return answers


def read(client, job, answers):
    if "config" in job:
        return client.get_model_config(job["model"], as_json=True)["config"]
    while not answers:
        pass
    result, error = answers[0]
    if error is not None:
        return {"error": error.message()}
    rows = result.as_numpy("probabilities")
    return [[value.decode() for value in row] for row in rows] if rows.dtype == object else rows.tolist()


if __name__ == "__main__":
    client = triton.InferenceServerClient(sys.argv[1])
    jobs = json.load(sys.stdin)
    sent = [None if "config" in job else send(client, job) for job in jobs]
    json.dump([read(client, *pair) for pair in zip(jobs, sent, strict=True)], sys.stdout)
