"""The Open Inference Protocol, version 2, over HTTP: what the clients of KServe and Triton speak.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""
