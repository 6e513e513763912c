"""Just enough of the protocol's version 3.0 to ask a server that trusts us, and to be no burden on the machine while doing so."""

import socket
import struct
import sys

READY = b"Z\0\0\0\5I"


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def fail(body):
    sys.exit(f"the server says: {body.replace(bytes(1), b' ').decode(errors='replace')}")


class WireClient:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""
        self.socket.sendall(message(b"", struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"))
        self.read_until(b"Z")

    def query(self, sql):
        self.send_query(sql)
        self.read_until(b"Z")

    def send_query(self, sql):
        self.socket.sendall(message(b"Q", sql.encode() + b"\0"))

    def query_in_bulk(self, sql):
        """The size of the reply, of which nothing is looked at but its end. Rows must not look like a ReadyForQuery."""
        self.send_query(sql)
        room = bytearray(1 << 18)
        size, end = 0, b""
        while not end.endswith(READY):
            received = self.socket.recv_into(room)
            if received == 0:
                sys.exit("the server closed the connection")
            size += received
            end = (end + room[max(0, received - len(READY)):received])[-len(READY):]
        return size

    def copy_in(self, sql, block, times):
        """COPY FROM STDIN of so many times `block`, which is CopyData messages."""
        self.send_query(sql)
        self.read_until(b"G")
        for _ in range(times):
            self.socket.sendall(block)
        self.socket.sendall(message(b"c", b""))
        self.read_until(b"Z")

    def terminate(self):
        self.socket.sendall(message(b"X", b""))
        self.socket.close()

    def read_until(self, wanted):
        kind = None
        while kind != wanted:
            kind, body = self.next_message()
            if kind == b"E":
                fail(body)

    def next_message(self):
        while len(self.unread) < 5 or len(self.unread) < 1 + struct.unpack_from("!i", self.unread, 1)[0]:
            received = self.socket.recv(65536)
            if not received:
                sys.exit("the server closed the connection")
            self.unread += received
        end = 1 + struct.unpack_from("!i", self.unread, 1)[0]
        kind, body, self.unread = self.unread[:1], self.unread[5:end], self.unread[end:]
        return kind, body
