"""The protocol by hand, for tests that say what no driver says: a client, and an upstream, whose every byte the test decides."""

import socket
import struct
import threading

SSL_REQUEST = struct.pack("!ii", 8, 1234 << 16 | 5679)
GSSENC_REQUEST = struct.pack("!ii", 8, 1234 << 16 | 5680)
TERMINATE = b"X\0\0\0\4"
SYNC = b"S\0\0\0\4"
SECONDS = 30


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def query(text):
    return message(b"Q", text.encode() + b"\0")


def startup(version=3 << 16, **parameters):
    body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in parameters.items())
    return struct.pack("!ii", len(body) + 9, version) + body + b"\0"


def cancel_request(process_id, secret):
    return struct.pack("!iiI", 12 + len(secret), 1234 << 16 | 5678, process_id) + secret


def fields(body):
    """An ErrorResponse's fields by their letters."""
    return {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}


class Closed(Exception):
    """The other side has closed the connection."""


class Wire:
    """One connection. Reads whole messages, and knows how to wait for some."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(SECONDS)
        self.bytes, self.at = bytearray(), 0  # what has come, and how much of it was taken

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Goes without a word: the peer gets RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def take(self, count):
        while len(self.bytes) - self.at < count:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError:
                data = b""
            if not data:
                raise Closed(bytes(self.bytes[self.at :]))
            del self.bytes[: self.at]
            self.at = 0
            self.bytes += data
        self.at += count
        return bytes(self.bytes[self.at - count : self.at])

    def read(self):
        """The next message: its type and its body."""
        head = self.take(5)
        return head[:1], self.take(struct.unpack("!i", head[1:])[0] - 4)

    def read_until(self, kind):
        """All messages up to the next one of a type, that included."""
        found = []
        while True:
            found.append(self.read())
            if found[-1][0] == kind:
                return found

    def read_to_end(self):
        """All messages that are left, until the other side closes."""
        found = []
        while True:
            try:
                found.append(self.read())
            except Closed as closed:
                assert closed.args[0] == b"", f"closed inside a message: {closed.args[0]!r}"
                return found

    def is_closed(self):
        """Waits for the other side to close; true when nothing came before that."""
        try:
            return self.take(1) == b"" or False
        except Closed:
            return True

    def fatal(self):
        """The one FATAL that is left, behind which the other side closes."""
        kind, body = self.read_to_end()[-1]
        error = fields(body)
        assert kind == b"E" and error["V"] == "FATAL", (kind, body)
        return error


class Client(Wire):
    """A client of a server, or of a proxy, that trusts it."""

    def __init__(self, port, host="127.0.0.1", receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect((host, port))
        super().__init__(sock)

    def log_in(self, **parameters):
        """Up to the first ReadyForQuery; keeps what the server says on the way."""
        self.send(startup(**{"user": "postgres", "database": "postgres", **parameters}))
        said = self.read_until(b"Z")
        self.parameters = dict(body.decode().split("\0")[:2] for kind, body in said if kind == b"S")
        key = [body for kind, body in said if kind == b"K"]
        self.process_id = struct.unpack("!I", key[0][:4])[0] if key else None
        self.secret = key[0][4:] if key else None
        self.said = said
        return self

    def ask(self, text):
        """A simple query: all messages of its reply."""
        self.send(query(text))
        return self.read_until(b"Z")

    def value(self, text):
        """The first column of the first row."""
        for kind, body in self.ask(text):
            assert kind != b"E", fields(body)
            if kind == b"D":
                size = struct.unpack("!i", body[2:6])[0]
                return body[6 : 6 + size].decode()
        return None


class Upstream:
    """A server by hand: each connection is given to `behave`, on a thread of its own."""

    def __init__(self, behave, receive_buffer=None, port=0):
        self.behave = behave
        self.listener = socket.socket()
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.errors = []
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()
        assert kind or not self.errors, self.errors

    def _accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            wire = Wire(sock)
            self.connections.append(wire)
            threading.Thread(target=self._run, args=(wire,), daemon=True).start()

    def _run(self, wire):
        try:
            self.behave(wire)
        except (Closed, OSError):
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)
        finally:
            wire.close()


def read_startup(wire):
    """An upstream's first act: the packet that opens the connection."""
    length = wire.take(4)
    return length + wire.take(struct.unpack("!i", length)[0] - 4)


AUTHENTICATED = message(b"R", struct.pack("!i", 0))
READY = message(b"Z", b"I")


def welcome(wire, process_id=1, secret=b"\0\0\0\1"):
    """Lets a client in, as a server does that trusts it; hangs up on a cancel request, as a server does too."""
    packet = read_startup(wire)
    if packet[4:8] == cancel_request(0, b"")[4:8]:
        raise Closed(b"")
    wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") +
              message(b"K", struct.pack("!I", process_id) + secret) + READY)
    return packet
