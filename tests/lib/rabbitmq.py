"""A private RabbitMQ for a test: its own node name, ports of 127.0.0.1 and directories, gone when the test is.

    broker = rabbitmq.shared()                      one for all tests of a run; it takes seconds to start
    broker.declare("mail")                          a durable queue, empty
    … publish to broker.url() …
    broker.take("mail", 10)                         the next ten messages

It is the distribution's (package rabbitmq-server), run in the foreground by whoever runs the test; a service of that name on this machine is left
alone. The tests look into it with pika, which tests/integration/requirements.txt pins.
"""

import atexit
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.parse

from certificates import Certificates
from ports import free_port
from postgres import newest
from waiting import wait_until

USER, PASSWORD = "app", "app-secret"

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {tls.ca}
ssl_options.certfile = {tls.certificate}
ssl_options.keyfile = {tls.key}
ssl_options.verify = verify_none
default_user = {user}
default_pass = {password}
vm_memory_high_watermark.absolute = 4GB
disk_free_limit.absolute = 1MB
log.console = true
log.console.level = info
log.file = false
"""


class RabbitMQ:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="pgatomic-rabbitmq-")
        self.log = os.path.join(self.directory, "log")
        self.tls = Certificates(self.directory)
        self.port, self.tls_port, self.names_port, distribution_port = (free_port() for _ in range(4))
        self.programs = newest_programs()
        self.environment = {
            **os.environ,
            "HOME": self.directory,
            "ERL_EPMD_PORT": str(self.names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"pgatomic-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONF_ENV_FILE": os.path.join(self.directory, "none"),
            "RABBITMQ_CONFIG_FILE": os.path.join(self.directory, "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(self.directory, "plugins"),
            "RABBITMQ_MNESIA_BASE": os.path.join(self.directory, "data"),
            "RABBITMQ_LOG_BASE": os.path.join(self.directory, "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
        }
        with open(self.environment["RABBITMQ_CONFIG_FILE"], "w") as file:
            file.write(CONFIG.format(port=self.port, tls_port=self.tls_port, tls=self.tls, user=USER, password=PASSWORD))
        with open(self.environment["RABBITMQ_ENABLED_PLUGINS_FILE"], "w") as file:
            file.write("[].\n")
        self.names = self._run(["epmd", "-port", str(self.names_port), "-address", "127.0.0.1"])
        self.process = None

    def _run(self, command):
        with open(self.log, "ab") as log:
            return subprocess.Popen(command, env=self.environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    start_new_session=True)

    def start(self):
        """Returns when it takes messages. Queues and their messages are those from before it was stopped or killed."""
        self.process = self._run([os.path.join(self.programs, "rabbitmq-server")])
        wait_until(self._is_ready, "RabbitMQ to take connections; its log: " + self.log, seconds=180)

    def _is_ready(self):
        self.check_alive()
        import pika  # of the environment that the test target makes
        try:
            self.connect().close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    def check_alive(self):
        if self.process.poll() is not None:
            self.process = None
            with open(self.log, errors="replace") as log:
                raise AssertionError("RabbitMQ ended by itself:\n" + log.read())

    def kill(self):
        """Without a word to anybody."""
        if self.process is not None:
            self.check_alive()
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def freeze(self):
        """From now on it says nothing, until thaw()."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def remove(self):
        try:
            self.kill()
        finally:
            self.names.kill()
            self.names.wait()
            shutil.rmtree(self.directory, ignore_errors=True)

    def control(self, *arguments):
        """rabbitmqctl."""
        done = subprocess.run([os.path.join(self.programs, "rabbitmqctl"), "-q", *arguments], env=self.environment, cwd=self.directory,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"rabbitmqctl {' '.join(arguments)}:\n{done.stdout}")
        return done.stdout

    def url(self, tls=False, user=USER, password=PASSWORD, virtual_host="/"):
        scheme, port = ("amqps", self.tls_port) if tls else ("amqp", self.port)
        secret = urllib.parse.quote(password, safe="")
        return f"{scheme}://{user}:{secret}@127.0.0.1:{port}/{urllib.parse.quote(virtual_host, safe='')}"

    def connect(self, virtual_host="/"):
        import pika
        return pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", self.port, virtual_host, pika.PlainCredentials(USER, PASSWORD), heartbeat=0, socket_timeout=60))

    def do(self, act, virtual_host="/"):
        """Calls `act` with a channel of a connection of its own."""
        connection = self.connect(virtual_host)
        try:
            return act(connection.channel())
        finally:
            if connection.is_open:
                connection.close()

    def declare(self, queue, **options):
        def act(channel):
            channel.queue_delete(queue)
            channel.queue_declare(queue, durable=True, **options)
        self.do(act)

    def delete(self, queue):
        self.do(lambda channel: channel.queue_delete(queue))

    def waiting(self, queue):
        """How many messages are in it."""
        return self.do(lambda channel: channel.queue_declare(queue, passive=True).method.message_count)

    def take(self, queue, count, virtual_host="/", seconds=30.0):
        """Takes `count` messages, as (properties, body as text), and waits for them if need be."""
        taken = []

        def act(channel):
            def more():
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                while method is not None:
                    taken.append((properties, body.decode()))
                    method, properties, body = channel.basic_get(queue, auto_ack=True)
                return len(taken) >= count
            wait_until(more, f"{count} messages in {queue}", seconds)
            return taken
        return self.do(act, virtual_host)


def newest_programs():
    found = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin")
    if not found:
        raise SystemExit("rabbitmq.py: no RabbitMQ found, install the package rabbitmq-server")
    return newest(found)


_shared = None


def shared():
    global _shared
    if _shared is None:
        _shared = RabbitMQ()
        atexit.register(_shared.remove)
    if _shared.process is None:
        _shared.start()
    _shared.check_alive()
    return _shared
