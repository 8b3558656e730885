"""The Open Inference Protocol, version 2, over gRPC, beside HTTP; it needs the extra ``grpc``.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md and
https://github.com/grpc/grpc/blob/master/doc/health-checking.md

Only :mod:`serving.server.grpc.address` and :mod:`serving.server.grpc.extra` may be imported where gRPC is
off: the others need its packages.
"""
