"""A private Kafka for a test: one node, its own ports of 127.0.0.1 and directory, gone when the test is.

    broker = kafka.shared()                         one for all tests of a run; it takes seconds to start
    broker.create("mail")                           a topic of three partitions
    … produce to broker.url() …
    broker.take("mail", 10)                         the first ten records

The server's jars are those that tests/lib/kafka-server/pom.xml pins; Maven fetches them into build/kafka, once. The tests look into it with
confluent-kafka, which tests/integration/requirements.txt pins.
"""

import atexit
import base64
import os
import shutil
import signal
import subprocess
import tempfile
import uuid

from certificates import Certificates
from ports import free_port
from postgres import ROOT
from waiting import wait_until

HOME = os.path.join(ROOT, "build", "kafka")
USER, PASSWORD = "app", "app-secret"
JAVA = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]

CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={directory}/data
num.partitions=3
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
ssl.keystore.type=PEM
ssl.keystore.location={directory}/keystore.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


def install():
    """Fetches the server, once. Returns its class path."""
    ready = os.path.join(HOME, "ready")
    if not os.path.exists(ready):
        shutil.rmtree(HOME, ignore_errors=True)
        os.makedirs(HOME)
        subprocess.run(["mvn", "--quiet", "--batch-mode", "--no-transfer-progress", f"-Doutput={HOME}", "-f",
                        os.path.join(ROOT, "tests", "lib", "kafka-server", "pom.xml"), "package"], stdout=subprocess.DEVNULL, check=True)
        open(ready, "w").close()
    return os.path.join(HOME, "lib", "*")


class Kafka:
    def __init__(self):
        self.class_path = install()
        self.directory = tempfile.mkdtemp(prefix="pgatomic-kafka-")
        self.log = os.path.join(self.directory, "log")
        self.tls = Certificates(self.directory)
        self.port, self.ssl_port, self.sasl_port, controller = (free_port() for _ in range(4))
        self.config = os.path.join(self.directory, "server.properties")
        with open(self.config, "w") as file:
            file.write(CONFIG.format(directory=self.directory, port=self.port, ssl=self.ssl_port, sasl=self.sasl_port, controller=controller,
                                     user=USER, password=PASSWORD))
        with open(os.path.join(self.directory, "keystore.pem"), "w") as both:
            for path in (self.tls.key, self.tls.certificate):
                with open(path) as part:
                    both.write(part.read())
        self.process = None
        self._format()

    def _java(self, *arguments):
        return [*JAVA, "-cp", self.class_path, *arguments]

    def _format(self):
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        users = [word for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
                 for word in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")]
        with open(self.log, "ab") as log:
            subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.config, *users), stdout=log, stderr=log,
                           check=True)

    def start(self):
        """Returns when it takes records. Topics and their records are those from before it was killed."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self._java("kafka.Kafka", self.config), cwd=self.directory, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        wait_until(self._is_ready, "Kafka to take connections; its log: " + self.log, seconds=180)

    def check_alive(self):
        if self.process.poll() is not None:
            self.process = None
            with open(self.log, errors="replace") as log:
                raise AssertionError("Kafka ended by itself:\n" + log.read()[-20000:])

    def _is_ready(self):
        self.check_alive()
        from confluent_kafka import KafkaException
        try:
            return self._admin().list_topics(timeout=1).brokers
        except KafkaException:
            return False

    def _admin(self):
        from confluent_kafka.admin import AdminClient
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})

    def kill(self):
        """Without a word to anybody."""
        if self.process is not None:
            self.check_alive()
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def remove(self):
        try:
            self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, tls=False, user=None, password=PASSWORD, mechanism=None):
        scheme, port = ("kafkas", self.sasl_port if user else self.ssl_port) if tls else ("kafka", self.port)
        login = f"{user}:{password}@" if user else ""
        return f"{scheme}://{login}127.0.0.1:{port}" + (f"?mechanism={mechanism}" if mechanism else "")

    def create(self, topic, **config):
        from confluent_kafka.admin import NewTopic
        admin = self._admin()
        admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1, config=config)])[topic].result(60)
        wait_until(lambda: topic in admin.list_topics(timeout=60).topics, f"topic {topic}")

    def take(self, topic, count, seconds=30.0):
        """All records, at least `count`, in the order of their partitions; waits for them if need be."""
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self.port}", "group.id": "test", "log_level": 0})
        partitions = [TopicPartition(topic, partition, 0) for partition in range(3)]
        taken = []

        def end():
            return sum(consumer.get_watermark_offsets(partition, timeout=60)[1] for partition in partitions)

        def more():
            taken.extend(consumer.consume(1000, timeout=0.2))
            assert not [record.error() for record in taken if record.error()]
            return len(taken) >= max(count, end())
        try:
            consumer.assign(partitions)
            wait_until(more, f"{count} records in {topic}", seconds)
        finally:
            consumer.close()
        return taken


_shared = None


def shared():
    global _shared
    if _shared is None:
        _shared = Kafka()
        atexit.register(_shared.remove)
    if _shared.process is None:
        _shared.start()
    _shared.check_alive()
    return _shared
