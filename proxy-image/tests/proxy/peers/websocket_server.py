"""A WebSocket server: echoes, and closes with 4001 when it is told to leave. Arguments: the port."""

import sys

from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        if message == "leave":
            connection.close(4001, "as you wish")
            return
        connection.send(message)


with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, subprotocols=["shop.v1"]) as server:
    server.serve_forever()
