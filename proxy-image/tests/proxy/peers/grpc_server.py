"""A gRPC server on a plain port: echoes every kind of call. Arguments: the port."""

import sys
from concurrent import futures

import grpc


def count(request, context):
    context.set_trailing_metadata((("x-length", str(len(request))),))
    return request


def refuse(request, context):
    context.set_trailing_metadata((("x-why", "gone"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such item: 7")


def down(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def up(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def both(requests, context):
    for request in requests:
        yield request.upper()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Stock", {
    "Count": grpc.unary_unary_rpc_method_handler(count),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
