"""The webhook sink (E12): what is posted, what counts as success, and receivers that misbehave."""

import asyncio
import base64
import datetime
import email.utils
import hashlib
import hmac
import json
import os
import socket
import tempfile
import threading
import time

from certificates import Certificates
from proxy import Proxy, free_port
from receiver import Receiver
from test_delivery import QUICK, ask_ok, channel, hook

SECRET = "whsec_" + base64.b64encode(b"a key of some length, and \0 in it").decode()


def is_signed(post):
    said = f"{post.id}.{post.headers['webhook-timestamp']}.".encode() + post.body
    digest = hmac.new(base64.b64decode(SECRET[len("whsec_"):]), said, hashlib.sha256).digest()
    return post.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def one_post(server, more, payload, name="mail.welcome"):
    with Receiver() as receiver, Proxy(server, hook(receiver, more=more) + channel()) as proxy, proxy.log_in() as client:
        ask_ok(client, f"NOTIFY \"{name}\", '{payload}'")
        return receiver.wait_for(1)[0]


def E12_raw_posts_the_payload_signed_with_the_events_id(server):
    before = int(time.time())
    post = one_post(server, f'body = raw  secret = "{SECRET}"', '{"user": 7}')
    assert post.path == "/hook" and post.text == '{"user": 7}' and post.channel == "mail.welcome"
    assert post.headers["content-type"] == "application/json" and is_signed(post)
    assert before <= int(post.headers["webhook-timestamp"]) <= int(time.time())


def E12_a_signature_is_made_anew_for_each_try_with_the_same_id(server):
    answers = iter([500, 500, 200])
    with Receiver(lambda post: next(answers)) as receiver:
        with Proxy(server, hook(receiver, more=f'secret = "{SECRET}" {QUICK}') + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'x'")
            receiver.wait_for(1)
            assert all(is_signed(post) for post in receiver.seen) and len({post.id for post in receiver.seen}) == 1


def E12_binary_is_a_cloud_event_in_headers(server):
    post = one_post(server, "body = binary", "plain words", "größe 1")
    assert post.text == "plain words" and post.headers["content-type"] == "text/plain; charset=utf-8"
    assert post.headers["ce-specversion"] == "1.0" and post.headers["ce-id"] == post.id
    assert post.headers["ce-source"] == "pgatomic/postgres" and post.headers["ce-type"] == "gr%C3%B6%C3%9Fe%201"
    datetime.datetime.strptime(post.headers["ce-time"], "%Y-%m-%dT%H:%M:%S.%fZ")


def E12_structured_is_a_cloud_event_in_json(server):
    post = one_post(server, "body = structured", '{"user": [7]}')
    event = json.loads(post.body)
    assert post.headers["content-type"] == "application/cloudevents+json"
    assert event.pop("time") and event == {"specversion": "1.0", "id": post.id, "source": "pgatomic/postgres", "type": "mail.welcome",
                                           "datacontenttype": "application/json", "data": {"user": [7]}}


def E12_a_payload_of_a_megabyte_arrives_whole(server):
    payload = "ä" * (500 * 1000)
    assert one_post(server, "timeout = 30s", payload).body == payload.encode()


def reasons(server, answer, more=QUICK, count=1):
    """What the log says of an event that such a receiver gets."""
    with Receiver(answer) as receiver:
        with Proxy(server, hook(receiver, more=more) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'x'")
            return proxy.wait_for_log(msg="event_retry", count=count)


def E12_everything_but_2xx_is_a_failure(server):
    for status in (301, 307, 400, 401, 404, 408, 422, 425, 429, 500, 502, 599):
        line = reasons(server, lambda post, status=status: (status, {"Location": "/elsewhere"}, b"so it is \r\n"))[0]
        assert line["reason"] == f"HTTP {status}: so it is", line


def E12_every_2xx_is_success(server):
    for status in (200, 201, 202, 204, 299):
        with Receiver(lambda post, status=status: status) as receiver:
            with Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
                ask_ok(client, "NOTIFY mail, 'x'")
                proxy.wait_for_log(msg="event_delivered")


def E12_a_redirect_is_not_followed(server):
    with Receiver() as elsewhere, Receiver(lambda post: (307, {"Location": elsewhere.url}, b"")) as receiver:
        with Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'x'")
            proxy.wait_for_log(msg="event_retry", count=3)
            assert not elsewhere.seen


def E12_retry_after_is_honoured_in_seconds_and_as_a_date(server):
    date = email.utils.format_datetime(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=100), usegmt=True)
    more = "retry { first = 1ms  max = 10min  attempts = 9 }"
    for value, least, most in (("120", 120e3, 120e3), (date, 10e3, 100e3), ("86400", 600e3, 600e3), ("soon", 0, 1), ("-5", 0, 1)):
        line = reasons(server, lambda post, value=value: (503, {"Retry-After": value}, b""), more)[0]
        assert least <= line["next_ms"] <= most, (value, line)


def E12_410_stops_the_sink_until_a_reload(server):
    status = [410]
    with Receiver(lambda post: status[0]) as receiver:
        blocks = hook(receiver) + channel()
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'one'")
            dead = proxy.wait_for_log(msg="event_dead")[0]
            assert dead["reason"] == "HTTP 410" and dead["attempt"] == 1
            ask_ok(client, "NOTIFY mail, 'two'")
            proxy.wait_for_log(msg="event_dead", count=2)
            assert len(receiver.seen) == 1 and proxy.log_where(msg="sink stopped")
            status[0] = 200
            proxy.reload(blocks)
            proxy.wait_for_log(msg="config reloaded")
            ask_ok(client, "NOTIFY mail, 'three'")
            assert [post.text for post in receiver.wait_for(1)] == ["three"]


def E12_a_receiver_that_never_answers_is_given_up_and_holds_nobody_else_back(server):
    with socket.socket() as mute, Receiver() as other:
        mute.bind(("127.0.0.1", 0))
        mute.listen(64)
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        blocks = f'sink "mute" {{ type = webhook  url = "{url}"  timeout = 200ms  {QUICK} }}\n'
        blocks += hook(other, "other") + channel("quiet", ["mute"]) + channel("loud", ["other"])
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY quiet, 'x'")
            ask_ok(client, "NOTIFY loud, 'y'")
            other.wait_for(1)
            line = proxy.wait_for_log(msg="event_retry")[0]
            assert "timed out" in line["reason"].lower(), line


def E12_half_an_answer_is_a_failure(server):
    halves = [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
              b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"]
    answers = iter([lambda sock, half=half: sock.sendall(half) for half in halves] + [200])
    with Receiver(lambda post: next(answers)) as receiver:
        with Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'x'")
            receiver.wait_for(1)
            assert len(receiver.seen) == len(halves) + 1
            assert proxy.wait_for_log(msg="event_delivered")[0]["attempt"] == len(halves) + 1


def flood(sock):
    try:
        sock.sendall(b"HTTP/1.1 500 Oh\r\n\r\n")
        while True:
            sock.sendall(b"words " * 10000)
    except OSError:
        pass


def E12_an_answer_without_end_is_cut_off(server):
    line = reasons(server, lambda post: flood, "timeout = 20s " + QUICK)[0]
    assert line["reason"].startswith("HTTP 500: words words") and len(line["reason"]) <= 220, line


def E12_an_answer_that_is_not_text_harms_no_log(server):
    line = reasons(server, lambda post: (500, {}, b"\xff\0\x1b[31m" + "ü".encode() * 500))[0]
    assert line["reason"].startswith("HTTP 500: ") and len(line["reason"].encode()) < 1000, line


def E12_connections_are_kept(server):
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
        for i in range(200):
            ask_ok(client, f"NOTIFY mail, '{i}'")
        receiver.wait_for(200)
        assert receiver.connections == 1


def E12_https_is_verified(server):
    with tempfile.TemporaryDirectory() as directory:
        tls = Certificates(directory)
        with Receiver(tls=tls) as receiver:
            blocks = hook(receiver, "known", f'ca = "{tls.ca}" {QUICK}') + hook(receiver, "unknown") + channel("a", ["known"])
            with Proxy(server, blocks + channel("b", ["unknown"])) as proxy, proxy.log_in() as client:
                ask_ok(client, "NOTIFY a, 'x'")
                ask_ok(client, "NOTIFY b, 'y'")
                assert receiver.wait_for(1)[0].text == "x"
                assert "certificate" in proxy.wait_for_log(msg="event_retry", sink="unknown")[0]["reason"]
                assert len(receiver.seen) == 1


class Http2:
    """A receiver that speaks HTTP/2, one connection at a time being enough."""

    def __init__(self, tls):
        self.tls, self.port, self.taken, self.connections = tls, free_port(), [], set()

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.end = asyncio.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join()

    def _run(self):
        import hypercorn.asyncio  # pylint: disable=import-outside-toplevel
        import hypercorn.config  # pylint: disable=import-outside-toplevel

        config = hypercorn.config.Config()
        config.bind = [f"127.0.0.1:{self.port}"]
        config.certfile, config.keyfile = self.tls.certificate, self.tls.key
        config.errorlog = None
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(hypercorn.asyncio.serve(self._serve, config, shutdown_trigger=self.end.wait))

    async def _serve(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": kind + ".complete"})
                if kind == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.connections.add((scope["client"], scope["http_version"]))
        self.taken.append((dict(scope["headers"])[b"pgatomic-channel"].decode(), body.decode()))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def E12_http_2_carries_the_posts_of_many_channels_over_one_connection(server):
    with tempfile.TemporaryDirectory() as directory:
        tls = Certificates(directory)
        with Http2(tls) as receiver:
            sink = f'sink "hook" {{ type = webhook  url = "https://localhost:{receiver.port}/"  ca = "{tls.ca}"  {QUICK} }}\n'
            with Proxy(server, sink + channel()) as proxy, proxy.log_in() as client:
                ask_ok(client, "BEGIN;" + "".join(f"NOTIFY c{i % 20}, '{i}';" for i in range(200)) + "COMMIT")
                proxy.wait_for_log(msg="event_delivered", count=200)
        for number in range(20):
            assert [int(text) for name, text in receiver.taken if name == f"c{number}"] == list(range(number, 200, 20))
        assert {version for _, version in receiver.connections} == {"2"} and len(receiver.connections) == 1


def E12_a_certificate_for_another_name_is_refused(server):
    with tempfile.TemporaryDirectory() as directory:
        tls = Certificates(directory, names="subjectAltName=DNS:elsewhere")
        with Receiver(tls=tls) as receiver, Proxy(server, hook(receiver, more=f'ca = "{tls.ca}" {QUICK}') + channel()) as proxy:
            with proxy.log_in() as client:
                ask_ok(client, "NOTIFY a, 'x'")
                proxy.wait_for_log(msg="event_retry")
                assert not receiver.seen


def E12_proxies_of_the_environment_are_not_used(server):
    with Receiver() as receiver, Receiver(lambda post: 500) as trap:
        os.environ["http_proxy"] = os.environ["ALL_PROXY"] = f"http://127.0.0.1:{trap.port}"
        try:
            with Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
                ask_ok(client, "NOTIFY mail, 'x'")
                receiver.wait_for(1)
                assert not trap.seen
        finally:
            del os.environ["http_proxy"], os.environ["ALL_PROXY"]


def E12_a_password_in_the_url_reaches_the_receiver_and_no_log(server):
    with Receiver(lambda post: (500, {}, post.headers["authorization"].encode())) as receiver:
        url = receiver.url.replace("http://", "http://hook:t%20p-secret@") + "?token=tok-secret"
        blocks = f'sink "hook" {{ type = webhook  url = "{url}"  secret = "{SECRET}"  {QUICK} }}\n' + channel()
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'x'")
            proxy.wait_for_log(msg="event_retry")
            basic = base64.b64encode(b"hook:t p-secret").decode()
            assert receiver.seen[0].headers["authorization"] == "Basic " + basic and "tok-secret" in receiver.seen[0].path
            with open(proxy.log, encoding="utf-8") as file:
                log = file.read()
            for secret in ("p-secret", basic, "tok-secret", SECRET):
                assert secret not in log


def E12_many_channels_are_posted_at_once_and_each_in_its_order(server):
    everybody = threading.Barrier(8)

    def answer(post):
        if int(post.text) < 8:
            everybody.wait(timeout=60)
        return 200

    with Receiver(answer) as receiver, Proxy(server, hook(receiver, more="timeout = 60s") + channel()) as proxy:
        with proxy.log_in() as client:
            ask_ok(client, "BEGIN;" + "".join(f"NOTIFY c{i % 50}, '{i}';" for i in range(200)) + "COMMIT")
            posts = receiver.wait_for(200)
            for number in range(50):
                assert [int(post.text) for post in posts if post.channel == f"c{number}"] == list(range(number, 200, 50))
            assert receiver.connections <= 32 and not proxy.log_where(msg="event_retry")
