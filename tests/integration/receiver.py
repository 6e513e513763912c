"""A receiver of webhooks: a real HTTP server on a port of its own, which remembers what it got and answers as a test wants.

    with Receiver() as receiver:                                  answers 200
    with Receiver(lambda post: 503 if … else 200) as receiver:    an answer is a status, or (status, headers, body),
                                                                  or a function that is given the connection's socket
        receiver.url                                              for the config
        receiver.wait_for(10)                                     the first ten posts that were answered with 2xx
"""

import http.server
import ssl
import threading

from ports import free_port
from waiting import wait_until


class Post:
    """`headers` by their names in lower case."""

    def __init__(self, path, headers, body):
        self.path = path
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body
        self.text = body.decode(errors="replace")
        self.channel = self.headers.get("pgatomic-channel")
        self.id = self.headers.get("webhook-id")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        with self.server.receiver.lock:
            self.server.receiver.connections += 1

    def do_POST(self):
        receiver = self.server.receiver
        post = Post(self.path, self.headers, self.rfile.read(int(self.headers.get("Content-Length", 0))))
        with receiver.lock:
            receiver.seen.append(post)
        answer = receiver.answer(post)
        if callable(answer):
            answer(self.connection)
            self.close_connection = True
            return
        status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
        if 200 <= status <= 299:
            with receiver.lock:
                receiver.taken.append(post)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A peer that has gone is no news."""


class Receiver:
    def __init__(self, answer=lambda post: 200, tls=None):
        """`tls`: a Certificates."""
        self.answer = answer
        self.tls = tls
        self.port = free_port()
        self.lock = threading.Lock()
        self.seen, self.taken, self.connections = [], [], 0
        self.server = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"https://localhost:{self.port}/hook" if self.tls else f"http://127.0.0.1:{self.port}/hook"

    def start(self):
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.receiver = self
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls.certificate, self.tls.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self):
        """Nobody listens any more."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def wait_for(self, count, seconds=30.0):
        wait_until(lambda: len(self.taken) >= count, f"{count} posts; {len(self.taken)} were taken, {len(self.seen)} seen", seconds)
        return self.taken[:count]

    def wait_until_seen(self, count):
        wait_until(lambda: len(self.seen) >= count, f"{count} posts to be seen")
        return self.seen[:count]
