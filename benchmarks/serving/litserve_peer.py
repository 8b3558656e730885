"""A peer: LitServe and ONNX Runtime, as their documentation shows them.

    BUNDLE=RUN/bundle python litserve_peer.py 24102 [--workers 2]

The four methods: https://lightning.ai/docs/litserve/api-reference/litapi
The server and its defaults: https://lightning.ai/docs/litserve/api-reference/litserver
Texts come as a model of pydantic's: https://lightning.ai/docs/litserve/features/request-response-format
Forms come as a mapping from field to `UploadFile`:
https://github.com/Lightning-AI/LitServe/blob/main/tests/unit/test_form.py
"""

import argparse
import os
from pathlib import Path

import litserve as ls
from by_hand import Model, read_manifest
from fastapi import Request
from pydantic import BaseModel

BUNDLE = Path(os.environ["BUNDLE"])


class Text(BaseModel):
    text: str


class PictureAPI(ls.LitAPI):
    def setup(self, device):  # noqa: ARG002 - LitServe passes it
        self.model = Model(BUNDLE)

    def decode_request(self, request: Request):
        return self.model.read_picture(request["image"].file)

    def predict(self, x):
        return self.model.predict(x)

    def encode_response(self, output):
        return self.model.describe(output)


class TextAPI(PictureAPI):
    def decode_request(self, request: Text):
        return self.model.read_text(request.text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=1)  # LitServe's default
    options = parser.parse_args()
    api = PictureAPI() if read_manifest(BUNDLE)["input"]["modality"] == "image" else TextAPI()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=options.workers)
    server.run(host="127.0.0.1", port=options.port, log_level="warning", generate_client_file=False)
