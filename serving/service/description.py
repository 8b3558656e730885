"""BentoML's service object, which here describes itself as the application is."""

from __future__ import annotations

import json
from typing import Any

from _bentoml_sdk import Service  # type: ignore[import-untyped]
from pydantic.json_schema import JsonSchemaValue

from serving.model.bundle import open_bundle
from serving.model.errors import ServingError
from serving.model.schemas import ErrorBody, ErrorDetail
from serving.server.app.build import describe_bundle
from serving.service.arguments import read_arguments


class ModelService(Service):  # type: ignore[misc] # BentoML is untyped
    """A BentoML service whose documents are those of the application that answers."""

    @property
    def openapi_spec(self) -> Any:  # noqa: ANN401 - BentoML's class, or the document itself
        """The OpenAPI document, which a Bento keeps in ``apis/openapi.yaml``; BentoML's without a bundle."""
        try:
            bundle = open_bundle(read_arguments().folder())
        except ServingError:
            return super().openapi_spec
        return json.loads(
            json.dumps(describe_bundle(bundle.manifest, schema=self.schema))
        )  # plain values, for YAML

    def schema(self) -> JsonSchemaValue:
        """Return what ``/schema.json`` answers.

        An item of a batch is a prediction or an error. BentoML names the first of several forms only, and its
        client drops whatever that form has not.
        """
        schema: JsonSchemaValue = super().schema()
        refused = ErrorBody.model_json_schema() | {"properties": {"error": ErrorDetail.model_json_schema()}}
        refused.pop("$defs")
        for route in schema["routes"]:
            items = route["output"]["properties"].get("predictions")
            if items:
                items["items"] = {"anyOf": [items["items"], refused]}
        return schema
