"""Events for an AMQP broker, with a real RabbitMQ that is up, down, killed, full, frozen or somebody else."""

import signal
import tempfile
import threading

import rabbitmq
from certificates import Certificates
from events import Mute, last_of_each, notify, numbers, reasons, wait_for_reason, wait_until_delivered
from peers import Impostor
from proxy import Proxy
from waiting import wait_until

SINK = """\
sink "bus" {{ type = amqp  url = "{url}"  timeout = {timeout}  {options}
              retry {{ first = 50ms  max = 200ms  attempts = {attempts} }} }}
channel "*" {{ sink = {{"bus"}}  forward = off }}
"""


def config(url, options="", timeout="5s", attempts=1000):
    return SINK.format(url=url, options=options, timeout=timeout, attempts=attempts)


def E6_an_amqp_message_is_what_was_captured(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_letter")
    payload = "Grüße, „Welt“ 🎉 \\x00 " + "x" * 900_000
    routes = 'route "checkout" { match = "/checkout/*"  mode = atomic  end = commit }\n'
    with Proxy(server, routes + config(broker.url())) as proxy, proxy.log_in(client_encoding="UTF8") as client:
        client.ask("SET pgatomic.request = '/checkout/7'")
        client.ask(f"NOTIFY amqp_letter, '{payload}'")
        assert broker.waiting("amqp_letter") == 0
        client.ask("SET pgatomic.outcome = 'commit'")
        wait_until_delivered(proxy, 1)
        event = proxy.log_where(msg="event_delivered")[0]
        (properties, body), = broker.take("amqp_letter", 1)
    assert body == payload
    assert properties.message_id == event["id"]
    assert properties.type == "amqp_letter" and properties.app_id == "pgatomic" and properties.delivery_mode == 2
    assert properties.content_type == "text/plain" and properties.content_encoding == "utf-8" and properties.timestamp > 0
    assert properties.headers == {"id": event["id"], "channel": "amqp_letter", "request": event["request"], "route": "checkout", "label": "/checkout/7",
                                  "database": "postgres"}, properties.headers


def E6_a_rolled_back_event_reaches_no_amqp_queue(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_rolled_back")
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        client.ask("BEGIN; NOTIFY amqp_rolled_back, 'no'; ROLLBACK")
        client.ask("BEGIN; NOTIFY amqp_rolled_back, 'yes'; COMMIT")
        wait_until_delivered(proxy, 1)
    assert [body for _, body in broker.take("amqp_rolled_back", 1)] == ["yes"]


def E5_many_events_reach_an_amqp_queue_in_the_order_of_their_commits(server):
    broker = rabbitmq.shared()
    channels = [f"amqp_many_{n}" for n in range(4)]
    for channel in channels:
        broker.declare(channel)
    with Proxy(server, config(broker.url())) as proxy:
        def produce(channel):
            with proxy.log_in() as client:
                for first in range(0, 1000, 20):
                    client.ask("BEGIN; " + "; ".join(f"NOTIFY {channel}, '{n}'" for n in range(first, first + 20)) + "; COMMIT")
        threads = [threading.Thread(target=produce, args=(channel,)) for channel in channels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until_delivered(proxy, 4000)
        assert reasons(proxy) == []
    for channel in channels:
        assert [body for _, body in broker.take(channel, 1000)] == numbers(0, 1000)


def E5_an_amqp_exchange_and_a_routing_key_can_be_chosen(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_chosen")

    def bind(channel):
        channel.exchange_declare("amqp_exchange", "direct")
        channel.queue_bind("amqp_chosen", "amqp_exchange", "the key")
    broker.do(bind)
    with Proxy(server, config(broker.url(), 'exchange = "amqp_exchange"  routing_key = "the key"')) as proxy, proxy.log_in() as client:
        notify(client, "somewhere", "here")
        wait_until_delivered(proxy, 1)
    (properties, body), = broker.take("amqp_chosen", 1)
    assert body == "here" and properties.type == "somewhere"


def E12_no_event_is_lost_when_an_amqp_broker_is_killed_in_the_middle(server):
    """Nor those for a broker that is down from the start."""
    broker = rabbitmq.shared()
    broker.declare("amqp_killed")
    broker.declare("amqp_down")
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client, \
            Proxy(server, config(broker.url())) as late, late.log_in() as late_client:
        for n in range(2000):
            client.ask(f"NOTIFY amqp_killed, '{n}'")
            if n == 1000:
                broker.kill()
        notify(late_client, "amqp_down", *numbers(0, 50))
        wait_for_reason(proxy, "")
        wait_for_reason(late, "cannot connect: refused or unreachable")
        broker.start()
        wait_until_delivered(proxy, 2000)
        wait_until_delivered(late, 50)
        assert [body for _, body in broker.take("amqp_down", 50)] == numbers(0, 50)
        bodies = [body for _, body in broker.take("amqp_killed", 2000)]
    assert last_of_each(bodies) == numbers(0, 2000)


def E12_connections_that_an_amqp_broker_closes_lose_nothing(server):
    broker = rabbitmq.shared()
    channels = [f"amqp_closed_{n}" for n in range(3)]
    for channel in channels:
        broker.declare(channel)
    with Proxy(server, config(broker.url())) as proxy:
        def produce(channel):
            with proxy.log_in() as client:
                notify(client, channel, *numbers(0, 1000))
        threads = [threading.Thread(target=produce, args=(channel,)) for channel in channels]
        for thread in threads:
            thread.start()
        broker.control("close_all_connections", "enough for now")
        for thread in threads:
            thread.join()
        wait_until_delivered(proxy, 3000)
        proxy.wait_for_log(msg="sink_disconnected", reason="the broker says: CONNECTION_FORCED - enough for now")
    for channel in channels:
        assert last_of_each([body for _, body in broker.take(channel, 1000)]) == numbers(0, 1000)


def E12_an_event_that_no_amqp_queue_takes_is_retried_until_one_does(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_routed")
    broker.delete("amqp_unroutable")
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        notify(client, "amqp_unroutable", *numbers(0, 20))
        notify(client, "amqp_routed", *numbers(0, 20))
        wait_for_reason(proxy, 'NO_ROUTE, exchange "", routing key "amqp_unroutable"')
        assert [body for _, body in broker.take("amqp_routed", 20)] == numbers(0, 20)
        broker.declare("amqp_unroutable")
        wait_until_delivered(proxy, 40)
        assert last_of_each([body for _, body in broker.take("amqp_unroutable", 20)]) == numbers(0, 20)


def E12_an_amqp_exchange_that_does_not_exist_is_a_reason_until_it_does(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_late")
    broker.do(lambda channel: channel.exchange_delete("amqp_late_exchange"))
    with Proxy(server, config(broker.url(), 'exchange = "amqp_late_exchange"')) as proxy, proxy.log_in() as client:
        notify(client, "amqp_late", *numbers(0, 20))
        wait_for_reason(proxy, "NOT_FOUND - no exchange 'amqp_late_exchange' in vhost '/'")

        def declare(channel):
            channel.exchange_declare("amqp_late_exchange", "fanout")
            channel.queue_bind("amqp_late", "amqp_late_exchange")
        broker.do(declare)
        wait_until_delivered(proxy, 20)
        assert last_of_each([body for _, body in broker.take("amqp_late", 20)]) == numbers(0, 20)
        assert len(proxy.log_where(msg="sink_connected")) == 1, "a new channel needs no new connection"


def E12_an_event_that_a_full_amqp_queue_rejects_is_retried(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_full", arguments={"x-max-length": 5, "x-overflow": "reject-publish"})
    with Proxy(server, config(broker.url())) as proxy, proxy.log_in() as client:
        notify(client, "amqp_full", *numbers(0, 10))
        wait_for_reason(proxy, "basic.nack")
        bodies = []
        while len(last_of_each(bodies)) < 10:
            bodies += [body for _, body in broker.take("amqp_full", 1)]
        wait_until_delivered(proxy, 10)
        bodies += [body for _, body in broker.take("amqp_full", 0)]
    assert last_of_each(bodies) == numbers(0, 10)


def E12_an_event_is_dead_when_its_tries_with_amqp_are_used_up(server):
    broker = rabbitmq.shared()
    broker.delete("amqp_dead")
    with Proxy(server, config(broker.url(), attempts=3)) as proxy, proxy.log_in() as client:
        notify(client, "amqp_dead", "never")
        dead, = proxy.wait_for_log(msg="event_dead")
        assert dead["attempt"] == 3 and "NO_ROUTE" in dead["reason"]


def E12_a_password_that_amqp_refuses_is_a_reason_and_no_secret_in_the_log(server):
    broker = rabbitmq.shared()
    with Proxy(server, config(broker.url(password="s3cret/wrong"))) as proxy, proxy.log_in() as client:
        notify(client, "amqp_refused", "x")
        wait_for_reason(proxy, "ACCESS_REFUSED")
        with open(proxy.log) as log:
            text = log.read() + proxy.errors()
    assert "s3cret" not in text and "wrong" not in text


def E12_an_amqp_virtual_host_may_have_any_name(server):
    broker = rabbitmq.shared()
    with Proxy(server, config(broker.url(virtual_host="a/b c"))) as proxy, proxy.log_in() as client:
        notify(client, "amqp_hosted", "x")
        wait_for_reason(proxy, "vhost a/b c not found")
        broker.control("add_vhost", "a/b c")
        broker.control("set_permissions", "-p", "a/b c", rabbitmq.USER, ".*", ".*", ".*")
        broker.do(lambda channel: channel.queue_declare("amqp_hosted"), virtual_host="a/b c")
        wait_until_delivered(proxy, 1)
        assert [body for _, body in broker.take("amqp_hosted", 1, virtual_host="a/b c")] == ["x"]


def E12_an_amqp_broker_without_memory_is_waited_for(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_blocked")
    with Proxy(server, config(broker.url(), timeout="1s")) as known, Proxy(server, config(broker.url(), timeout="1s")) as late, \
            known.log_in() as known_client, late.log_in() as late_client:
        notify(known_client, "amqp_blocked", "0")
        wait_until_delivered(known, 1)
        broker.control("set_vm_memory_high_watermark", "0")
        # More than a socket holds, to a broker that reads nothing; and to one that has not been heard of yet.
        large = [f"{n} " + "x" * 900_000 for n in range(1, 20)]
        notify(known_client, "amqp_blocked", *large)
        notify(late_client, "amqp_blocked", *numbers(100, 200))
        for proxy in (known, late):
            paused = proxy.wait_for_log(msg="sink_paused")[0]
            assert paused["reason"] == "the broker takes no messages now: low on memory"
        broker.control("set_vm_memory_high_watermark", "absolute", "4GB")
        wait_until_delivered(known, 20)
        wait_until_delivered(late, 100)
        assert not reasons(late), "waiting is no failure"
        bodies = {body for _, body in broker.take("amqp_blocked", 120)}
    assert bodies == {"0", *large, *numbers(100, 200)}


def E12_an_amqp_broker_that_says_nothing_more_is_given_up_in_time(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_frozen")
    with Proxy(server, config(broker.url(), timeout="1s")) as proxy, proxy.log_in() as client:
        notify(client, "amqp_frozen", "0")
        wait_until_delivered(proxy, 1)
        broker.freeze()
        try:
            notify(client, "amqp_frozen", *numbers(1, 10))
            wait_for_reason(proxy, "the broker has confirmed nothing in time")
        finally:
            broker.thaw()
        wait_until_delivered(proxy, 10)
        # In no order: it may read what was sent on the connection that was given up after what was sent again.
        assert {body for _, body in broker.take("amqp_frozen", 10)} == set(numbers(0, 10))


def E12_a_server_that_never_answers_amqp_holds_up_neither_events_for_ever_nor_the_end(server):
    with Mute() as mute:
        with Proxy(server, config(f"amqp://127.0.0.1:{mute.port}", timeout="500ms")) as proxy, proxy.log_in() as client:
            notify(client, "amqp_mute", "x")
            wait_for_reason(proxy, "cannot log in")
    for scheme in ("amqp", "amqps"):
        with Mute() as mute, \
                Proxy(server, config(f"{scheme}://127.0.0.1:{mute.port}", timeout="10min")) as proxy, proxy.log_in() as client:
            notify(client, "amqp_mute", "x")
            wait_until(lambda: mute.accepted, "a connection")
            assert proxy.stop(signal.SIGINT) == 0


def P10_amqps_verifies_the_broker(server):
    broker = rabbitmq.shared()
    broker.declare("amqp_tls")
    url = broker.url(tls=True)
    with Proxy(server, config(url, f'ca = "{broker.tls.ca}"')) as proxy, proxy.log_in() as client:
        notify(client, "amqp_tls", *numbers(0, 200))
        wait_until_delivered(proxy, 200)
    assert [body for _, body in broker.take("amqp_tls", 200)] == numbers(0, 200)
    with Proxy(server, config(url)) as proxy, proxy.log_in() as client:
        notify(client, "amqp_tls", "x")
        wait_for_reason(proxy, "cannot connect: SSL")
    assert broker.waiting("amqp_tls") == 0


def P10_amqps_wants_the_name_that_was_asked_for(server):
    with tempfile.TemporaryDirectory() as directory:
        elsewhere = Certificates(directory, names="subjectAltName=DNS:elsewhere.example")
        with Impostor(elsewhere) as impostor, \
                Proxy(server, config(f"amqps://127.0.0.1:{impostor.port}", f'ca = "{elsewhere.ca}"')) as proxy, proxy.log_in() as client:
            notify(client, "amqp_name", "x")
            wait_for_reason(proxy, "cannot connect: SSL")
            assert impostor.heard == b""
