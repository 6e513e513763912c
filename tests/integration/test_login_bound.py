"""Logins over TLS to the upstream are bound to its certificate (P9): whoever stands between is found out, though nobody verifies whose
certificate it is."""

import contextlib
import socket
import ssl
import threading

from postgres import PASSWORD, USER
from test_login import USERS, LoginProxy
from test_upstream_tls import certificates, postgres_with_tls
from wire import SSL_REQUEST


class Between:
    """Speaks TLS with both sides, and hands on what each says; `change` may change what the server says."""

    def __init__(self, port, tls, change):
        self.port_behind = port
        self.change = change
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(tls.certificate, tls.key)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError):
            assert client.recv(8) == SSL_REQUEST
            client.sendall(b"S")
            client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self.port_behind))
            server.sendall(SSL_REQUEST)
            assert server.recv(1) == b"S"
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            server = context.wrap_socket(server)
            threading.Thread(target=self._pass, args=(client, server, lambda data: data), daemon=True).start()
            self._pass(server, client, self.change)

    @staticmethod
    def _pass(source, target, change):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(change(data))
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def login(server, port, pool):
    """A proxy whose upstream is at `port`, over TLS that verifies nobody."""
    proxy = LoginProxy(server, f"method = scram-sha-256  {USERS}", {USER: PASSWORD}, pool=pool)
    proxy.blocks = proxy.blocks.replace(f"host=127.0.0.1 port={server.port} sslmode=disable", f"host=127.0.0.1 port={port} sslmode=require")
    return proxy


def P9_somebody_between_pgatomic_and_the_upstream_is_found_out(_):
    def as_it_is(data):
        return data

    def without_plus(data):
        """The offer of -PLUS is taken away; another name of the same length keeps the message whole."""
        return data.replace(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256-NONE")

    with postgres_with_tls() as (server, _tls), certificates() as other:
        for pool in ("transaction", "dedicated"):
            with login(server, server.port, pool) as proxy:
                assert proxy.who(USER, PASSWORD) == USER
            for change, words in ((as_it_is, "channel binding check failed"), (without_plus, "channel binding negotiation error")):
                with Between(server.port, other, change) as between, login(server, between.port, pool) as proxy:
                    assert words in proxy.refusal(USER, PASSWORD), pool
