"""Calls the server of grpc_server.py in every way and prints what it got. Arguments: the port."""

import queue
import sys

import grpc

channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")


def call(kind, method):
    return getattr(channel, kind)(f"/shop.Stock/{method}")


big = b"x" * (3 << 20)
answer, sent = call("unary_unary", "Count").with_call(big, timeout=20, metadata=(("x-from", "test"),))
print("unary", answer == big, dict(sent.trailing_metadata())["x-length"])
try:
    call("unary_unary", "Refuse")(b"7", timeout=20)
except grpc.RpcError as error:
    print("refused", error.code().name, error.details(), dict(error.trailing_metadata())["x-why"])
print("down", [int(number) for number in call("unary_stream", "Down")(b"100", timeout=20)] == list(range(100)))
print("up", int(call("stream_unary", "Up")((b"x" * 1000 for _ in range(100)), timeout=20)))

# Each word is said only when the answer to the one before has come.
words = queue.Queue()
answers = call("stream_stream", "Both")(iter(words.get, None), timeout=20)
heard = []
for word in (b"one", b"two", b"three"):
    words.put(word)
    heard.append(next(answers).decode())
words.put(None)
print("both", heard, list(answers))
