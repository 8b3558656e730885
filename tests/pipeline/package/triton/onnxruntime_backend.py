"""A stand-in for Triton's ONNX Runtime backend, which no wheel has: a backend that is written in Python.

The core loads it for `backend: "onnxruntime"` and gives it the model's own `config.pbtxt`, so that a
repository is loaded as it is. It reads the same file and the same parameters as the real backend.
"""

import json
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        threads = config["parameters"]["intra_op_thread_count"]["string_value"]
        options.intra_op_num_threads = int(threads)
        path = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        feeds = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        answers = self.session.run(self.outputs, feeds)
        tensors = [triton.Tensor(*pair) for pair in zip(self.outputs, answers, strict=True)]
        return triton.InferenceResponse(tensors)
