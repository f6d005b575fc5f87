"""Talks to the server of websocket_server.py and prints what it got. Arguments: the port."""

import os
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

url = f"ws://127.0.0.1:{sys.argv[1]}/chat"
with connect(url, max_size=None, subprotocols=["shop.v1"], open_timeout=20) as connection:
    print("protocol", connection.subprotocol)
    for number in range(100):
        connection.send(f"message {number}")
        assert connection.recv(timeout=20) == f"message {number}"
    big = os.urandom(2 << 20)
    connection.send(big)
    print("binary", connection.recv(timeout=20) == big)
    print("pong", connection.ping().wait(20))
    connection.send("leave")
    try:
        connection.recv(timeout=20)
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code, closed.rcvd.reason)
