"""A relay in front of a PostgreSQL that counts bytes and cuts the connection where it is told to."""

import ctypes
import socket
import struct
import threading

LIMITLESS = 1 << 62
SO_ATTACH_FILTER = 26
TAKE_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF: RET 0


def shut_down(*sockets):
    for sock in sockets:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def swallow(sock):
    """From now on the kernel drops every packet that comes for this socket, unacknowledged: its peer finds the network dead."""
    code = ctypes.create_string_buffer(TAKE_NOTHING, len(TAKE_NOTHING))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(code)))


class Relay:
    """Relays TCP connections to the server's unix socket. `cut()` arms it: the next bytes are counted, and once so many have gone to the
    server or to the client, both sides are closed. What was read behind the limit is lost."""

    def __init__(self, server):
        self.target = f"{server.directory}/.s.PGSQL.{server.port}"
        self.lock = threading.Lock()
        self.to_server = self.to_client = LIMITLESS
        self.sockets = []

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.sockets:
            sock.close()

    def cut(self, to_server=LIMITLESS, to_client=LIMITLESS):
        with self.lock:
            self.to_server, self.to_client = to_server, to_client

    def vanish(self):
        """As if the machine had lost its power: whoever speaks to the relay, or wants to connect, hears nothing any more."""
        for sock in [self.listener, *self.sockets[::2]]:
            swallow(sock)

    def break_all(self):
        """All connections end, at once."""
        shut_down(*self.sockets)

    def break_one(self, chance):
        """One of the connections ends, if there is any."""
        pairs = [at for at in range(0, len(self.sockets) - 1, 2) if self.sockets[at].fileno() >= 0]
        if pairs:
            at = chance.choice(pairs[-8:])
            shut_down(*self.sockets[at : at + 2])

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            self.sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server, "to_server"), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, "to_client"), daemon=True).start()

    def _allowed(self, way, size):
        """How many of so many bytes may still go; and whether that is the end."""
        with self.lock:
            left = getattr(self, way)
            if left == LIMITLESS:
                return size, False
            setattr(self, way, max(left - size, 0))
            return min(left, size), left <= size

    def _pump(self, source, sink, way):
        try:
            while True:
                data = source.recv(65536)
                size, ends = self._allowed(way, len(data))
                sink.sendall(data[:size])
                if ends or not data:
                    break
        except OSError:
            pass
        shut_down(source, sink)

