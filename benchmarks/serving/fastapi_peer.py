"""A peer: FastAPI and ONNX Runtime, as their documentation shows them.

    BUNDLE=RUN/bundle uvicorn fastapi_peer:app --port 24101 --log-level warning

The model is loaded in the lifespan: https://fastapi.tiangolo.com/advanced/events/
Files come as `UploadFile`: https://fastapi.tiangolo.com/tutorial/request-files/
Texts come as a model of pydantic's, and so do answers: https://fastapi.tiangolo.com/tutorial/body/,
.../tutorial/response-model/ The endpoints are plain functions, which FastAPI runs in its thread pool, because
their work blocks: https://fastapi.tiangolo.com/async/
"""

import os
from contextlib import asynccontextmanager
from pathlib import Path

from by_hand import Model, read_manifest
from fastapi import FastAPI, UploadFile
from pydantic import BaseModel

BUNDLE = Path(os.environ["BUNDLE"])
models: dict[str, Model] = {}


class Text(BaseModel):
    text: str


class Answer(BaseModel):
    label: str
    probability: float
    probabilities: dict[str, float]


@asynccontextmanager
async def lifespan(app: FastAPI):  # noqa: ARG001 - FastAPI passes it
    models["model"] = Model(BUNDLE)
    yield
    models.clear()


app = FastAPI(lifespan=lifespan)

if read_manifest(BUNDLE)["input"]["modality"] == "image":

    @app.post("/predict")
    def predict(image: UploadFile) -> Answer:
        model = models["model"]
        return Answer(**model.describe(model.predict(model.read_picture(image.file))))

else:

    @app.post("/predict")
    def predict(body: Text) -> Answer:
        model = models["model"]
        return Answer(**model.describe(model.predict(model.read_text(body.text))))
