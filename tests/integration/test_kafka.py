"""Events for Kafka, with a real broker that is up, down, killed, picky or somebody else."""

import signal
import tempfile

import kafka
from certificates import Certificates
from kafka_faults import CLUSTER_AUTHORIZATION_FAILED, INIT_PRODUCER_ID, NOT_ENOUGH_REPLICAS, PRODUCE, FaultyKafka
from events import Mute, last_of_each, notify, numbers, reasons, wait_for_reason, wait_until_delivered
from peers import Impostor
from proxy import Proxy
from waiting import wait_until

SINK = """\
sink "log" {{ type = kafka  url = "{url}"  timeout = {timeout}  {options}
              retry {{ first = 50ms  max = 200ms  attempts = {attempts} }} }}
channel "*" {{ sink = {{"log"}}  forward = off }}
"""


def config(url, options="", timeout="5s", attempts=1000):
    return SINK.format(url=url, options=options, timeout=timeout, attempts=attempts)


def bodies(records):
    return [record.value().decode() for record in records]


def E6_a_kafka_record_is_what_was_captured(server):
    broker = kafka.shared()
    broker.create("letter")
    payload = "Grüße, „Welt“ 🎉 \\x00 " + "x" * 900_000
    routes = 'route "checkout" { match = "/checkout/*"  mode = atomic  end = commit }\n'
    with Proxy(server, routes + config(broker.url())) as proxy, proxy.log_in(client_encoding="UTF8") as client:
        client.ask("SET pgatomic.request = '/checkout/7'")
        client.ask(f"NOTIFY letter, '{payload}'")
        client.ask("SET pgatomic.outcome = 'commit'")
        wait_until_delivered(proxy, 1)
        event, = proxy.log_where(msg="event_delivered")
        record, = broker.take("letter", 1)
    assert record.value().decode() == payload and record.key() == b"letter"
    headers = {name: value.decode() for name, value in record.headers()}
    assert headers == {"id": event["id"], "channel": "letter", "request": event["request"], "route": "checkout", "label": "/checkout/7",
                       "database": "postgres"}, headers


def E6_a_rolled_back_event_reaches_no_kafka_topic(server):
    broker = kafka.shared()
    broker.create("rolled_back")
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        client.ask("BEGIN; NOTIFY rolled_back, 'no'; ROLLBACK")
        client.ask("BEGIN; NOTIFY rolled_back, 'yes'; COMMIT")
        wait_until_delivered(proxy, 1)
    assert bodies(broker.take("rolled_back", 1)) == ["yes"]


def E5_a_channels_events_reach_kafka_in_the_order_of_their_commits(server):
    broker = kafka.shared()
    broker.create("everything")
    channels = [f"channel_{n}" for n in range(4)]
    with Proxy(server, config(broker.url(), 'topic = "everything"')) as proxy, proxy.log_in() as client:
        for n in range(0, 500, 10):
            client.ask("BEGIN; " + "; ".join(f"NOTIFY {channel}, '{m}'" for m in range(n, n + 10) for channel in channels) + "; COMMIT")
        wait_until_delivered(proxy, 2000)
        assert reasons(proxy) == []
    records = broker.take("everything", 2000)
    for channel in channels:
        mine = [record for record in records if record.key() == channel.encode()]
        assert bodies(mine) == numbers(0, 500)
        assert len({record.partition() for record in mine}) == 1, "a channel's records share a partition"


def E12_no_event_is_lost_when_a_kafka_broker_is_killed_in_the_middle(server):
    broker = kafka.shared()
    broker.create("killed")
    with Proxy(server, config(broker.url(), timeout="1s")) as proxy, proxy.log_in() as client:
        for n in range(2000):
            client.ask(f"NOTIFY killed, '{n}'")
            if n == 1000:
                broker.kill()
        wait_for_reason(proxy, "Connection refused")
        broker.start()
        wait_until_delivered(proxy, 2000)
    assert last_of_each(bodies(broker.take("killed", 2000))) == numbers(0, 2000)


def E12_a_kafka_topic_that_does_not_exist_is_a_reason_until_it_does(server):
    broker = kafka.shared()
    broker.create("there")
    with Proxy(server, config(broker.url(), timeout="2s")) as proxy, proxy.log_in() as client:
        notify(client, "not_there", *numbers(0, 10))
        notify(client, "there", *numbers(0, 10))
        wait_for_reason(proxy, "Unknown topic")
        assert bodies(broker.take("there", 10)) == numbers(0, 10)
        broker.create("not_there")
        wait_until_delivered(proxy, 20)
        assert last_of_each(bodies(broker.take("not_there", 10))) == numbers(0, 10)


def E12_what_kafka_can_never_take_is_dead_at_once(server):
    broker = kafka.shared()
    broker.create("small", **{"max.message.bytes": "100000"})
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        client.ask("NOTIFY \"a b\", 'x'")
        notify(client, "small", "x" * 500_000, "y")
        wait_until_delivered(proxy, 1)
        dead = {line["channel"]: line["reason"] for line in proxy.wait_for_log(msg="event_dead", count=2)}
        assert "no name for a topic" in dead["a b"] and "too large" in dead["small"], dead
        assert not reasons(proxy)
    assert bodies(broker.take("small", 1)) == ["y"]


def E12_small_records_pass_where_a_batch_of_them_would_be_too_large_for_kafka(server):
    broker = kafka.shared()
    broker.create("narrow", **{"max.message.bytes": "70000"})
    payloads = [f"{n} " + "x" * 20_000 for n in range(50)]
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        client.ask("BEGIN; " + "; ".join(f"NOTIFY narrow, '{payload}'" for payload in payloads) + "; COMMIT")
        wait_until_delivered(proxy, 50)
    assert bodies(broker.take("narrow", 50)) == payloads


def E12_a_server_that_never_answers_kafka_holds_up_neither_events_for_ever_nor_the_end(server):
    with Mute() as mute:
        with Proxy(server, config(f"kafka://127.0.0.1:{mute.port}", timeout="500ms")) as proxy, proxy.log_in() as client:
            notify(client, "mute", "x")
            wait_for_reason(proxy, "Message timed out")
    for scheme in ("kafka", "kafkas"):
        with Mute() as mute, \
                Proxy(server, config(f"{scheme}://127.0.0.1:{mute.port}", timeout="10min")) as proxy, proxy.log_in() as client:
            notify(client, "mute", "x")
            wait_until(lambda: mute.accepted, "a connection")
            assert proxy.stop(signal.SIGINT) == 0


def P10_kafkas_verifies_the_broker(server):
    broker = kafka.shared()
    broker.create("tls")
    with Proxy(server, config(broker.url(tls=True), f'ca = "{broker.tls.ca}"')) as proxy, proxy.log_in() as client:
        notify(client, "tls", *numbers(0, 100))
        wait_until_delivered(proxy, 100)
    with Proxy(server, config(broker.url(tls=True), timeout="1s")) as proxy, proxy.log_in() as client:
        notify(client, "tls", "x")
        wait_for_reason(proxy, "certificate verify failed")
    with tempfile.TemporaryDirectory() as directory:
        elsewhere = Certificates(directory, names="subjectAltName=DNS:elsewhere.example")
        with Impostor(elsewhere) as impostor, Proxy(server, config(f"kafkas://127.0.0.1:{impostor.port}", f'ca = "{elsewhere.ca}"',
                                                                   timeout="1s")) as proxy, proxy.log_in() as client:
            notify(client, "tls", "x")
            wait_for_reason(proxy, "certificate verify failed")
            assert impostor.heard == b""
    assert bodies(broker.take("tls", 100)) == numbers(0, 100)


def P9_kafka_logs_in_with_each_mechanism(server):
    broker = kafka.shared()
    broker.create("login")
    for n, mechanism in enumerate((None, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")):
        url = broker.url(tls=True, user=kafka.USER, mechanism=mechanism)
        with Proxy(server, config(url, f'ca = "{broker.tls.ca}"')) as proxy, proxy.log_in() as client:
            notify(client, "login", str(n))
            wait_until_delivered(proxy, 1)
    assert sorted(bodies(broker.take("login", 4))) == numbers(0, 4)


def P9_a_password_that_kafka_refuses_is_a_reason_and_no_secret_in_the_log(server):
    broker = kafka.shared()
    for mechanism in ("PLAIN", "SCRAM-SHA-512"):
        url = broker.url(tls=True, user=kafka.USER, password="s3cret-wrong", mechanism=mechanism)
        with Proxy(server, config(url, f'ca = "{broker.tls.ca}"', timeout="1s")) as proxy, proxy.log_in() as client:
            notify(client, "login", "x")
            wait_for_reason(proxy, "uthentication failed")
            with open(proxy.log) as log:
                text = log.read() + proxy.errors()
        assert "s3cret" not in text


def E12_a_kafka_producer_that_can_go_no_further_is_replaced(server):
    with FaultyKafka() as broker:
        broker.answer(INIT_PRODUCER_ID, *[CLUSTER_AUTHORIZATION_FAILED] * 3)
        with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
            notify(client, "fatal", *numbers(0, 50))
            wait_until_delivered(proxy, 50)
            assert all("authorization" in reason for reason in reasons(proxy)), reasons(proxy)
            assert len(proxy.log_where(msg="sink_disconnected")) == 3


def E5_a_channels_order_survives_what_kafka_refuses_for_now(server):
    with FaultyKafka() as broker:
        broker.answer(PRODUCE, *[NOT_ENOUGH_REPLICAS] * 5)
        with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
            notify(client, "replicas", *numbers(0, 200))
            wait_until_delivered(proxy, 200)
            assert [line["payload"] for line in proxy.log_where(msg="event_delivered")] == numbers(0, 200)
