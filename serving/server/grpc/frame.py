"""The frame around every call: access, refusals, faults, and what is noted of it."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Iterable
from typing import Final

import grpc
from starlette.types import Scope

from serving.model.errors import InputRefusedError, ServingError
from serving.server.grpc.address import GrpcAddress
from serving.server.grpc.call import Call, Intake, Method, describe_call
from serving.server.grpc.service import refuse_method
from serving.server.grpc.statuses import REQUEST_ID, find_status, refuse
from serving.server.http.access import Guard
from serving.server.http.exchange import Exchange
from serving.server.http.observe import CANCELLED, GRPC_STATUS, Notes
from serving.server.http.refusals import CLIENT_LEFT

log = logging.getLogger("graft")
# The caller left, or its deadline has passed, which gRPC may notice first where it sends something.
LEFT: Final = (asyncio.CancelledError, grpc.aio.InternalError, grpc.aio.UsageError)


class Frame(grpc.GenericRpcHandler):  # type: ignore[misc] # gRPC is untyped
    """Finds the method of a call, and carries it out.

    Messages come and go as bytes, and a single one as if there could be several: so a call may be refused
    before its message is read.

    Args:
        methods: All methods that there are.
        guard: Decides who is answered.
        intake: Bounds what arrives.
        notes: Takes note of every call.
        address: Where calls come in.
    """

    def __init__(
        self, methods: Iterable[Method], guard: Guard, intake: Intake, notes: Notes, address: GrpcAddress
    ) -> None:
        self._methods = {method.path: method for method in methods}
        self._guard = guard
        self._intake = intake
        self._notes = notes
        self._address = address

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return gRPC's handler of a call."""
        path = handler_call_details.method
        method = self._methods.get(path) or Method(path, "grpc_none", "probe", refuse_method)
        answer = functools.partial(self._answer, method)
        if method.is_stream:
            return grpc.stream_stream_rpc_method_handler(answer)
        return grpc.stream_unary_rpc_method_handler(answer)

    async def _answer(self, method: Method, _: object, context: grpc.aio.ServicerContext) -> bytes:
        scope = describe_call(method.path, context, self._address)
        exchange = Exchange.begin(scope)
        call = Call(context, exchange, self._intake, method.access)
        try:
            return await self._carry_out(method, scope, call, context)
        except LEFT:
            if not exchange.status:  # it had not been refused already
                exchange.status, exchange.code = CLIENT_LEFT, CANCELLED
            raise
        finally:
            call.release()
            scope[GRPC_STATUS] = find_status(exchange.status).value[0]
            is_known = method.path in self._methods
            self._notes.take(scope, method.name, method.path if is_known else None, call.bytes_in)

    async def _carry_out(
        self, method: Method, scope: Scope, call: Call, context: grpc.aio.ServicerContext
    ) -> bytes:
        """Return the bytes of the answer; raises AbortError once the call is refused."""
        exchange = call.exchange
        try:
            self._guard.check(scope, method.access)
            with self._intake.admit(method.access):
                message = await method.answer(call)
            answer = message.SerializeToString() if message is not None else b""
        except ServingError as error:
            refusal = error
        except LEFT:
            raise
        except Exception:
            log.exception("request %s failed", exchange.id)
            text = "The service failed; its log says why, by this request's id."
            refusal = InputRefusedError("internal", text, status=500)
        else:
            trailing = [(REQUEST_ID, exchange.id)]
            if exchange.timings:
                trailing.append(("server-timing", exchange.timings.to_header(exchange.seconds())))
            context.set_trailing_metadata(tuple(trailing))
            exchange.status, exchange.bytes_out = 200, len(answer)
            return answer
        await refuse(context, exchange, refusal)
        raise AssertionError  # `refuse` always raises
