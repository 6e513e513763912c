"""HTTP: metrics, health, the newest events, what the live page is fed with."""

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import urllib.parse

from prometheus_client.parser import text_string_to_metric_families
from proxy import Proxy, free_port, wait_until
from wire import query

BLOCKS = """
route "checkout" { match = "/checkout/*"  mode = atomic }
channel "*" { sink = {"story"} }
sink "story" { type = log }
"""


def fetch(proxy, path, method="GET", headers=None):
    """Status, headers and body of one exchange."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.http_port, timeout=30)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def get(proxy, path):
    status, _, body = fetch(proxy, path)
    assert status == 200, (path, status, body)
    return body


def state(proxy):
    return json.loads(get(proxy, "/state.json"))


def events(proxy):
    return json.loads(get(proxy, "/events"))["events"]


def metrics(proxy):
    """{name: [(labels, value), …]}, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(get(proxy, "/metrics")):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(found, name, **labels):
    """The one sample of that name whose labels include these."""
    values = [value for said, value in found.get(name, []) if labels.items() <= said.items()]
    assert len(values) == 1, (name, labels, found.get(name))
    return values[0]


def descriptors_of(proxy):
    """What is open, but for what is closed while one looks."""
    directory = f"/proc/{proxy.process.pid}/fd"
    found = []
    for fd in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(os.path.join(directory, fd)))
    return found


def shell_http_is_off_unless_it_is_asked_for(server):
    with Proxy(server) as proxy:
        inodes = {name[8:-1] for name in descriptors_of(proxy) if name.startswith("socket:[")}
        with open("/proc/net/tcp") as table:
            listening = [line.split() for line in table if line.split()[3] == "0A"]
        assert [int(line[1].split(":")[1], 16) for line in listening if line[9] in inodes] == [proxy.port]


def shell_healthz_says_that_the_process_is_alive(server):
    with Proxy(server, http=True) as proxy:
        assert fetch(proxy, "/healthz")[2] == "alive\n"


def shell_readyz_says_why_clients_would_not_be_served(server):
    nobody = free_port()
    with Proxy(server, http=True) as proxy:
        assert fetch(proxy, "/readyz")[0::2] == (200, "ready\n")
    blocks = f'database "gone" {{ upstream = "host=127.0.0.1 port={nobody}" }}\n'
    with Proxy(server, blocks, http=True) as proxy:
        status, _, body = fetch(proxy, "/readyz")
        assert status == 503 and 'database "gone"' in body and "refused" in body, body


def P12_readyz_says_that_the_process_is_draining(server):
    with Proxy(server, BLOCKS, http=True) as proxy, proxy.log_in() as client:
        client.ask("SET pgatomic.request = '/checkout/1'")
        client.ask("SELECT 1")
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: fetch(proxy, "/readyz")[0::2] == (503, "draining\n"), "the drain to be told")
        assert fetch(proxy, "/healthz")[0] == 200
        client.ask("SET pgatomic.outcome = 'commit'")
        assert client.fatal()["C"] == "57P01"
        wait_until(lambda: proxy.process.poll() == 0, "pgatomic to end")


def shell_metrics_count_clients_transactions_and_bytes(server):
    with Proxy(server, workers=2, http=True) as proxy:
        with proxy.log_in() as one, proxy.log_in():
            before = metrics(proxy)
            one.ask("BEGIN")
            one.ask("SELECT repeat('x', 100000)")
            during = metrics(proxy)
            one.ask("COMMIT")
            one.ask("SELECT 1")
            after = metrics(proxy)
        assert value(during, "pgatomic_clients", state="active", database="postgres", user="postgres") == 1
        assert value(during, "pgatomic_clients", state="idle", database="postgres", user="postgres") == 1
        assert value(during, "pgatomic_servers", state="active", database="postgres", user="postgres") == 1
        assert value(after, "pgatomic_clients", state="active", database="postgres", user="postgres") == 0
        name = "pgatomic_queries_total"
        assert value(after, name, database="postgres") - value(before, name, database="postgres") == 4
        name = "pgatomic_transactions_total"
        assert value(after, name, database="postgres") - value(before, name, database="postgres") == 2
        assert value(after, "pgatomic_sent_bytes_total") - value(before, "pgatomic_sent_bytes_total") > 100000
        assert value(after, "pgatomic_received_bytes_total") > value(before, "pgatomic_received_bytes_total")
        assert value(after, "pgatomic_logins_total") == 2 and value(after, "pgatomic_workers") == 2

        def gone():
            found = metrics(proxy)
            return found if "pgatomic_clients" not in found else None

        found = wait_until(gone, "both clients to be gone")
        for name in ("pgatomic_queries_total", "pgatomic_transactions_total", "pgatomic_sent_bytes_total"):
            assert value(found, name) == value(after, name), "what clients have counted outlives them"


def E3_metrics_count_requests_by_outcome_and_events_by_fate(server):
    with Proxy(server, BLOCKS, workers=2, http=True) as proxy, proxy.log_in() as client:
        client.ask("SET pgatomic.request = '/checkout/1'")
        client.ask("NOTIFY mail, 'one'")
        found = metrics(proxy)
        assert value(found, "pgatomic_events_held") == 1 and value(found, "pgatomic_requests_in_flight") == 1
        client.ask("SET pgatomic.outcome = 'commit'")
        client.ask("SET pgatomic.request = '/checkout/2'")
        client.ask("NOTIFY mail, 'two'")
        client.ask("SELECT 1/0")
        client.ask("SET pgatomic.outcome = 'rollback'")
        found = metrics(proxy)
        assert value(found, "pgatomic_events_held") == 0 and value(found, "pgatomic_requests_in_flight") == 0
        fates = {labels["fate"]: count for labels, count in found["pgatomic_events_total"] if labels["channel"] == "*"}
        assert fates == {"held": 2, "discarded": 1, "released": 1, "delivered": 1, "retried": 0, "dead": 0, "dropped": 0}
        assert value(found, "pgatomic_sink_events_total", sink="story", fate="delivered") == 1
        assert value(found, "pgatomic_sink_queue_events", sink="story") == 0
        outcomes = {labels["outcome"]: count for labels, count in found["pgatomic_requests_total"] if count}
        assert outcomes == {"committed": 1, "outcome": 1}, outcomes
        assert value(found, "pgatomic_request_duration_seconds_count", route="checkout") == 2
        assert value(found, "pgatomic_request_duration_seconds_bucket", route="checkout", le="+Inf") == 2


def shell_names_that_clients_choose_cannot_break_the_metrics(server):
    server.sql('CREATE ROLE "a""b\\c" LOGIN')
    try:
        with Proxy(server, http=True) as proxy, proxy.log_in(user='a"b\\c'):
            assert value(metrics(proxy), "pgatomic_clients", user='a"b\\c', state="idle") == 1
            assert state(proxy)["pools"][0]["user"] == 'a"b\\c'
    finally:
        server.sql('DROP ROLE "a""b\\c"')


def E2_events_tell_each_ones_story(server):
    with Proxy(server, BLOCKS, http=True) as proxy, proxy.log_in() as client:
        client.ask("SET pgatomic.request = '/checkout/7'")
        client.ask("NOTIFY mail, 'é<b>\"x'")
        (event,) = events(proxy)
        assert event["state"] == "held" and event["channel"] == "mail" and event["payload"] == 'é<b>"x', event
        assert event["label"] == "/checkout/7" and event["route"] == "checkout" and "settled" not in event
        client.ask("SET pgatomic.outcome = 'commit'")
        (event,) = events(proxy)
        assert event["state"] == "delivered" and event["settled"] >= event["held"]
        (delivery,) = event["deliveries"]
        assert delivery["sink"] == "story" and delivery["state"] == "delivered" and delivery["attempt"] == 1
        client.ask("BEGIN")
        client.ask("NOTIFY mail, 'undone'")
        client.ask("ROLLBACK")
        newest, older = events(proxy)
        assert (newest["state"], newest["reason"], older["id"]) == ("discarded", "rollback", event["id"])
        held = proxy.log_where(msg="event_held")
        assert [line["id"] for line in held] == [older["id"], newest["id"]]


def E2_of_many_events_the_newest_are_kept(server):
    with Proxy(server, BLOCKS, http=True) as proxy, proxy.log_in() as client:
        for number in range(600):
            client.ask(f"NOTIFY mail, '{number}'")
        assert [event["payload"] for event in events(proxy)] == [str(number) for number in range(599, 599 - 256, -1)]
        assert {event["state"] for event in events(proxy)} == {"delivered"}


def E2_payloads_are_shown_as_the_log_may_show_them(server):
    with Proxy(server, BLOCKS, http=True) as proxy, proxy.log_in() as client:
        client.ask(f"NOTIFY mail, '{'x' * 5000}'")
        assert len(events(proxy)[0]["payload"]) == 1024 and events(proxy)[0]["payload_bytes"] == 5000
        proxy.payloads = "preview"
        proxy.reload(BLOCKS)
        wait_until(lambda: len(events(proxy)[0]["payload"]) == 64, "payloads to be cut")
        proxy.payloads = "none"
        proxy.reload(BLOCKS)
        wait_until(lambda: "payload" not in events(proxy)[0], "payloads to be hidden")
        assert "xxx" not in get(proxy, "/state.json")


def R1_the_state_shows_requests_in_flight(server):
    with Proxy(server, BLOCKS, workers=2, http=True) as proxy:
        with proxy.log_in(application_name="shop <1>") as client, proxy.log_in():
            client.ask("SET pgatomic.request = '/checkout/9'")
            client.ask("SELECT 1")
            client.ask("NOTIFY mail, 'one'")
            (request,) = state(proxy)["requests"]
            assert request["label"] == "/checkout/9" and request["route"] == "checkout", request
            assert request["application"] == "shop <1>" and request["activity"] == "waiting for the client"
            assert (request["statements"], request["events"], request["held"]) == (2, 1, 1), request
            client.send(query("SELECT pg_sleep(0.5)"))
            wait_until(lambda: state(proxy)["requests"][0]["activity"] == "running", "the statement to be seen")
            client.read_until(b"Z")
            client.ask("SET pgatomic.outcome = 'commit'")
            said = state(proxy)
            assert said["requests"] == [] and said["totals"]["clients"] == 2
            assert said["routes"][0]["committed"] == 1 and said["routes"][0]["mode"] == "atomic"
            assert said["sinks"][0]["name"] == "story" and said["sinks"][0]["delivered"] == 1


def shell_only_reading_is_possible(server):
    with Proxy(server, http=True) as proxy:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            status, headers, _ = fetch(proxy, "/", method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD"), method
        status, headers, body = fetch(proxy, "/metrics", "HEAD")
        assert status == 200 and body == "" and int(headers["Content-Length"]) > 1000
        assert fetch(proxy, "/nothing")[0] == 404 and fetch(proxy, "/../etc/passwd")[0] == 404
        assert fetch(proxy, "/" + urllib.parse.quote("\0"))[0] == 404


def shell_a_page_from_elsewhere_can_read_nothing(server):
    with Proxy(server, http=True) as proxy:
        assert fetch(proxy, "/events", headers={"Host": "evil.example"})[0] == 403
        assert fetch(proxy, "/events", headers={"Host": f"localhost:{proxy.http_port}"})[0] == 200
        _, headers, _ = fetch(proxy, "/")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def shell_what_is_no_request_of_http_does_no_harm(server):
    bad = [b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 100000, b"\x16\x03\x01" + b"x" * 600,
           b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
           b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, b"GET " + b"/" * 20000 + b" HTTP/1.1\r\n\r\n"]
    with Proxy(server, http=True) as proxy:
        for data in bad:
            with socket.create_connection(("127.0.0.1", proxy.http_port), timeout=30) as s:
                try:
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
            assert get(proxy, "/healthz") == "alive\n", data[:40]


def is_closed(s, timeout=0):
    """Whether the other side has ended the connection."""
    try:
        return bool(select.select([s], [], [], timeout)[0]) and s.recv(1) == b""
    except ConnectionError:
        return True


def shell_whoever_sends_a_head_byte_by_byte_is_sent_away(server):
    with Proxy(server, http=True) as proxy, socket.create_connection(("127.0.0.1", proxy.http_port)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")

        def was_sent_away():
            try:
                slow.sendall(b"x")
            except ConnectionError:
                return True
            return is_closed(slow)

        wait_until(was_sent_away, "the connection to be closed, though it is never silent", 60)
        assert get(proxy, "/healthz") == "alive\n"


def shell_silent_connections_keep_nobody_from_being_answered(server):
    with Proxy(server, http=True) as proxy:
        before = proxy.descriptors()
        silent = [socket.create_connection(("127.0.0.1", proxy.http_port)) for _ in range(300)]
        try:
            assert get(proxy, "/healthz") == "alive\n"
            wait_until(lambda: sum(map(is_closed, silent)) >= 200, "most of those that say nothing to be closed")
            assert not is_closed(silent[-1]), "the newest has its time"
            wait_until(lambda: proxy.descriptors() <= before + 70, "their descriptors to be closed")
        finally:
            for s in silent:
                s.close()
        proxy.wait_until_idle(before)


def shell_who_leaves_before_the_answer_does_no_harm(server):
    with Proxy(server, workers=2, http=True) as proxy:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", proxy.http_port), timeout=30) as s:
                s.sendall(b"GET /metrics HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n")
        assert get(proxy, "/healthz") == "alive\n"


def shell_http_moves_with_a_reload_and_its_port_taken_is_an_error(server):
    with Proxy(server, http=True) as proxy:
        before, proxy.http_port = proxy.http_port, free_port()
        proxy.reload("")
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", proxy.http_port)) == 0, "the new address")
        assert get(proxy, "/healthz") == "alive\n"
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", before)) != 0, "the old one to be closed")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            good, proxy.http_port = proxy.http_port, taken.getsockname()[1]
            proxy.reload("")
            proxy.wait_for_log(msg="cannot listen for HTTP")
            status, said = proxy.run("run", "-c", proxy.config)
            assert status == 1, said
        proxy.http_port = good
        assert get(proxy, "/healthz") == "alive\n"
