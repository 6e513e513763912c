"""Events for Redis, with a real one that is up, down, killed, full, locked or somebody else."""

import os
import signal
import ssl
import tempfile
import threading

from certificates import Certificates
from events import Mute, first_of_each, notify, reasons, wait_for_reason, wait_until_delivered
from proxy import Proxy, free_port
from redis_server import Redis
from waiting import wait_until
from wire import Upstream

SINK = """\
sink "{name}" {{ type = redis  url = "{url}"  command = {command}  timeout = {timeout}  {options}
                 retry {{ first = 50ms  max = 200ms  attempts = {attempts} }} }}
"""
CHANNEL = 'channel "{pattern}" {{ sink = {{"{sink}"}}  forward = off }}\n'


def sink(url, command="rpush", name="store", options="", timeout="5s", attempts=1000):
    return SINK.format(name=name, url=url, command=command, options=options, timeout=timeout, attempts=attempts)


def config(url, **options):
    return sink(url, **options) + CHANNEL.format(pattern="*", sink="store")


def own(name, url, **options):
    """A sink for the channel of its name."""
    return sink(url, name=name, **options) + CHANNEL.format(pattern=name, sink=name)


def numbers(first, last):
    return [str(n) for n in range(first, last)]


def no_secret(proxy, *secrets):
    text = open(proxy.log).read() + proxy.errors()
    for secret in secrets:
        assert secret not in text, f"the log tells {secret}"


# --- what arrives ---------------------------------------------------------------------------------


def E5_redis_gets_a_channels_events_in_the_order_of_their_commits(server):
    """From several clients at once, each with its own channels, several events in a request."""
    with Redis() as redis, Proxy(server, config(redis.url()), workers=2) as proxy:
        clients = [proxy.log_in() for _ in range(4)]
        for round_ in range(50):
            for who, client in enumerate(clients):
                first = round_ * 10
                text = "; ".join(f"NOTIFY c{who}, '{n}'; NOTIFY shared, '{who}.{n}'" for n in range(first, first + 10))
                client.ask(f"BEGIN; {text}; COMMIT")
        wait_until_delivered(proxy, 4 * 50 * 10 * 2)
        for who, client in enumerate(clients):
            assert redis.list(f"c{who}") == numbers(0, 500)
            assert [item for item in redis.list("shared") if item.startswith(f"{who}.")] == [f"{who}.{n}" for n in range(500)]
            client.close()
        assert not reasons(proxy)


def E5_each_command_leaves_events_where_it_says(server):
    with Redis() as redis, redis.connect() as subscriber:
        blocks = "".join(sink(redis.url(), command, name) + CHANNEL.format(pattern=name + ".*", sink=name) for name, command in (
            ("said", "publish"), ("left", "lpush"), ("right", "rpush"), ("stream", "xadd")))
        blocks += sink(redis.url(), "xadd", "one", 'key = "every event"') + CHANNEL.format(pattern="one.*", sink="one")
        subscriber.do("SUBSCRIBE", "said.a")
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            for channel in ("said.a", "left.a", "right.a", "stream.a", "one.a"):
                client.ask(f"BEGIN; NOTIFY \"{channel}\", 'first'; NOTIFY \"{channel}\", 'second'; COMMIT")
            wait_until_delivered(proxy, 10)
            ids = {(line["channel"], line["payload"]): line["id"] for line in proxy.log_where(msg="event_released")}
        assert [subscriber.receive() for _ in range(2)] == [["message", "said.a", "first"], ["message", "said.a", "second"]]
        assert redis.list("left.a") == ["second", "first"]
        assert redis.list("right.a") == ["first", "second"]
        for key, channel in (("stream.a", "stream.a"), ("every event", "one.a")):
            entries = [entry for _, entry in redis.do("XRANGE", key, "-", "+")]
            assert entries == [["id", ids[channel, payload], "channel", channel, "payload", payload] for payload in ("first", "second")]


def E5_redis_gets_payloads_to_the_letter(server):
    payloads = ["", "a b", "line\r\nline", "*1\r\n$4\r\nPING\r\n", "it's \"quoted\" \\ %s", "Grüße 😀", "x" * 1_000_000]
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        notify(client, "raw", *payloads)
        wait_until_delivered(proxy, len(payloads))
        assert redis.list("raw") == payloads


# --- where Redis is -------------------------------------------------------------------------------


def shell_redis_is_reached_by_every_kind_of_address(server):
    """IPv6, the name of a host, a unix socket, and databases by number."""
    with Redis() as redis:
        places = {"six": (redis.url(host="[::1]", database=2), 2), "name": (redis.url(host="localhost", database=3), 3),
                  "socket": (f"unix://{redis.path}?db=4", 4),
                  "celery": (f"redis+socket://{redis.path}?virtual_host=5", 5), "bare": (f"unix://{redis.path}", 0)}
        blocks = "".join(own(name, url) for name, (url, _) in places.items())
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            for name in places:
                notify(client, name, "here")
            wait_until_delivered(proxy, len(places))
        for name, (_, database) in places.items():
            assert redis.list(name, database) == ["here"], name


def shell_redis_passwords_are_given_and_kept_secret(server):
    with Redis("--requirepass", "s3cret/default", password="s3cret/default") as redis:
        redis.do("ACL", "SETUSER", "app", "on", ">s3cret:app", "~*", "+@all")
        good = {"default": redis.url(password="s3cret/default"), "user": redis.url(user="app", password="s3cret:app")}
        bad = {"none": (redis.url(), "NOAUTH"), "wrong": (redis.url(password="s3cret/other"), "WRONGPASS"),
               "range": (redis.url(password="s3cret/default", database=99), "DB index is out of range")}
        blocks = "".join(own(name, url, attempts=2) for name, url in [*good.items(), *((name, url) for name, (url, _) in bad.items())])
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            for name in [*good, *bad]:
                notify(client, name, "here")
            wait_until_delivered(proxy, len(good))
            for name, (_, reason) in bad.items():
                (dead,) = proxy.wait_for_log(msg="event_dead", sink=name)
                assert reason in dead["reason"], dead
            no_secret(proxy, "s3cret")
        assert [redis.list(name) for name in [*good, *bad]] == [["here"], ["here"], [], [], []]
        assert redis.do("KEYS", "*") and len(redis.do("KEYS", "*")) == 2, "nothing was done before the log-in"


def shell_a_server_that_repeats_what_it_was_told_is_not_quoted(server):
    """Old servers answer an unknown command with its arguments: a password, or a payload that the log must not have."""
    def behave(wire):
        while True:
            command = wire.take(1)
            while b"\r\n" not in command[-2:] or b"s3cret" not in command:
                command += wire.take(1)
            wire.send(b"-ERR unknown command `AUTH`, with args beginning with: `s3cret-password`, \r\n")

    with Upstream(behave) as echo:
        blocks = config(f"redis://:s3cret-password@127.0.0.1:{echo.port}/0", attempts=1)
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            notify(client, "c", "x")
            (dead,) = proxy.wait_for_log(msg="event_dead")
            assert dead["reason"].startswith("ERR"), dead
            no_secret(proxy, "s3cret")


# --- TLS ------------------------------------------------------------------------------------------


def shell_redis_is_reached_over_tls_and_verified(server):
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        tls, stranger = Certificates(directory), Certificates(other, "subjectAltName=DNS:elsewhere.example")
        with Redis("--requirepass", "s3cret", tls=tls, password="s3cret") as redis, Redis(tls=stranger) as wrong:
            good = {"address": redis.url(password="s3cret", tls=True, host="127.0.0.1"),
                    "six": redis.url(password="s3cret", tls=True, host="[::1]"),
                    "name": redis.url(password="s3cret", tls=True, host="localhost")}
            bad = {"untrusted": (redis.url(password="s3cret", tls=True), "", "certificate"),
                   "stranger": (wrong.url(tls=True), stranger.ca, "IP address mismatch"),
                   "hostname": (wrong.url(tls=True, host="localhost"), stranger.ca, "hostname mismatch"),
                   "plain": (f"rediss://127.0.0.1:{redis.port}/0", tls.ca, "TLS"),
                   "no_file": (redis.url(tls=True), directory + "/none", "cannot be read")}
            blocks = "".join(own(name, url, timeout="20s", options=f'ca = "{tls.ca}"') for name, url in good.items())
            blocks += "".join(own(name, url, attempts=2, timeout="500ms" if name == "plain" else "20s", options=f'ca = "{ca}"')
                              for name, (url, ca, _) in bad.items())
            payloads = [*numbers(0, 200), "x" * 1_000_000, "last"]
            with Proxy(server, blocks) as proxy, proxy.log_in() as client:
                for name in good:
                    notify(client, name, *payloads)
                for name in bad:
                    notify(client, name, "never")
                wait_until_delivered(proxy, len(good) * len(payloads))
                for name, (_, _, reason) in bad.items():
                    (dead,) = proxy.wait_for_log(msg="event_dead", sink=name)
                    assert reason in dead["reason"], dead
                no_secret(proxy, "s3cret")
            for name in good:
                assert redis.list(name) == payloads
            assert wrong.do("KEYS", "*") == []


def shell_tls_below_1_2_is_refused_and_a_missing_close_notify_is_not(server):
    def serve(context, said):
        def behave(wire):
            with context.wrap_socket(wire.socket, server_side=True) as secure:
                said.append(secure.version())
                while data := secure.recv(65536):
                    secure.sendall(b":1\r\n" * data.count(b"RPUSH"))
                    os.close(secure.detach())  # closed without a word of TLS
                    return
        return behave

    with tempfile.TemporaryDirectory() as directory:
        tls = Certificates(directory)
        good, old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for context in (good, old):
            context.load_cert_chain(tls.certificate, tls.key)
        good.minimum_version = good.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        versions = []
        with Upstream(serve(good, versions)) as one, Upstream(serve(old, versions)) as two:
            options = f'ca = "{tls.ca}"'
            blocks = own("good", f"rediss://127.0.0.1:{one.port}", options=options)
            blocks += own("old", f"rediss://127.0.0.1:{two.port}", options=options, attempts=1)
            with Proxy(server, blocks) as proxy, proxy.log_in() as client:
                notify(client, "good", "one")
                wait_until_delivered(proxy, 1)
                notify(client, "good", "two")
                wait_until_delivered(proxy, 2)
                notify(client, "old", "never")
                (dead,) = proxy.wait_for_log(msg="event_dead", sink="old")
                assert dead["reason"].startswith("TLS: "), dead
        assert versions == ["TLSv1.2", "TLSv1.2"], versions


# --- trouble --------------------------------------------------------------------------------------


def E12_redis_down_and_back(server):
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        notify(client, "jobs", *numbers(0, 50))
        wait_until_delivered(proxy, 50)
        redis.kill()
        notify(client, "jobs", *numbers(50, 100))
        notify(client, "other", "x")
        wait_for_reason(proxy, "Connection refused")
        redis.start()
        wait_until_delivered(proxy, 101)
        assert redis.list("jobs") == numbers(50, 100)
        assert redis.list("other") == ["x"]


def E12_redis_killed_under_load_and_nothing_confirmed_is_lost(server):
    """What Redis has confirmed it keeps here, so every event must be there at the end, in order but for copies."""
    with Redis("--appendonly", "yes", "--appendfsync", "always") as redis, Proxy(server, config(redis.url())) as proxy, \
            proxy.log_in() as client:
        writer = threading.Thread(target=notify, args=(client, "jobs", *numbers(0, 4000)))
        writer.start()
        for kill in range(5):
            wait_until(lambda: redis.do("LLEN", "jobs") >= 600 * (kill + 1), "events to arrive")
            redis.kill()
            redis.start()
        writer.join()
        wait_until_delivered(proxy, 4000)
        assert first_of_each(redis.list("jobs")) == numbers(0, 4000)


def E12_redis_out_of_memory(server):
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        notify(client, "jobs", "0")
        wait_until_delivered(proxy, 1)
        redis.do("CONFIG", "SET", "maxmemory", "1")
        client.ask("BEGIN; " + "; ".join(f"NOTIFY jobs, '{n}'; NOTIFY c{n}, 'x'" for n in range(1, 40)) + "; COMMIT")
        wait_for_reason(proxy, "OOM command not allowed when used memory > 'maxmemory'")
        assert redis.list("jobs") == ["0"]
        redis.do("CONFIG", "SET", "maxmemory", "0")
        wait_until_delivered(proxy, 1 + 39 * 2)
        assert redis.list("jobs") == numbers(0, 40)
        assert all(redis.list(f"c{n}") == ["x"] for n in range(1, 40))


def E12_redis_read_only(server):
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        redis.do("REPLICAOF", "127.0.0.1", free_port())
        notify(client, "jobs", "1", "2")
        wait_for_reason(proxy, "READONLY")
        redis.do("REPLICAOF", "NO", "ONE")
        wait_until_delivered(proxy, 2)
        assert redis.list("jobs") == ["1", "2"]


def E12_a_key_of_another_type_holds_back_its_own_channel_until_it_is_mended(server):
    with Redis() as redis, Proxy(server, config(redis.url())) as proxy, proxy.log_in() as client:
        redis.do("SET", "jobs", "text")
        client.ask("BEGIN; " + "; ".join(f"NOTIFY jobs, '{n}'; NOTIFY other, '{n}'" for n in range(20)) + "; COMMIT")
        wait_for_reason(proxy, "WRONGTYPE")
        wait_until(lambda: redis.list("other") == numbers(0, 20), "the other channel to go on")
        redis.do("DEL", "jobs")
        wait_until_delivered(proxy, 40)
        assert redis.list("jobs") == numbers(0, 20)
        assert redis.list("other") == numbers(0, 20)
        assert {line["channel"] for line in proxy.log_where(msg="event_retry")} == {"jobs"}


def E5_a_missing_permission_holds_back_its_own_channel_alone(server):
    """Such a command spoils the whole transaction; nobody else may suffer for it."""
    with Redis() as redis:
        redis.do("ACL", "SETUSER", "app", "on", ">pass-word", "~ok*", "+@all")
        with Proxy(server, config(redis.url(user="app", password="pass-word"))) as proxy, proxy.log_in() as client:
            client.ask("BEGIN; " + "; ".join(f"NOTIFY ok1, '{n}'; NOTIFY locked, '{n}'; NOTIFY ok2, '{n}'" for n in range(30)) + "; COMMIT")
            wait_for_reason(proxy, "NOPERM")
            wait_until_delivered(proxy, 60)
            redis.do("ACL", "SETUSER", "app", "~locked")
            wait_until_delivered(proxy, 90)
            for channel in ("ok1", "ok2", "locked"):
                assert redis.list(channel) == numbers(0, 30), channel
            assert {line["channel"] for line in proxy.log_where(msg="event_retry")} == {"locked"}


def E5_an_account_that_may_not_use_transactions_delivers_all_the_same(server):
    with Redis() as redis:
        redis.do("ACL", "SETUSER", "app", "on", ">pass-word", "~ok*", "+rpush")
        with Proxy(server, config(redis.url(user="app", password="pass-word"))) as proxy, proxy.log_in() as client:
            client.ask("BEGIN; " + "; ".join(f"NOTIFY ok, '{n}'; NOTIFY locked, '{n}'" for n in range(30)) + "; COMMIT")
            wait_until_delivered(proxy, 30)
            wait_for_reason(proxy, "NOPERM")
            assert redis.list("ok") == numbers(0, 30), "each once"


def E12_a_redis_that_never_answers_is_given_up_and_holds_nobody_else_back(server):
    with Redis() as redis, Mute() as mute:
        blocks = own("mute", f"redis://127.0.0.1:{mute.port}", timeout="200ms", attempts=3)
        blocks += own("login", f"redis://:pass-word@127.0.0.1:{mute.port}", timeout="200ms", attempts=2)
        blocks += own("tls", f"rediss://127.0.0.1:{mute.port}", timeout="200ms", attempts=2)
        with Proxy(server, blocks + config(redis.url())) as proxy, proxy.log_in() as client:
            for channel in ("mute", "login", "tls"):
                notify(client, channel, "never")
            notify(client, "jobs", *numbers(0, 100))
            wait_until(lambda: redis.list("jobs") == numbers(0, 100), "the others to be delivered")
            for line in proxy.wait_for_log(count=3, msg="event_dead"):
                assert line["reason"].endswith("within 0.2 s"), line


def E12_a_stopped_redis_goes_on_where_it_was(server):
    """Frozen, not dead: connections stay, nothing is answered, and then all of it at once."""
    with Redis() as redis, Proxy(server, config(redis.url(), timeout="300ms")) as proxy, proxy.log_in() as client:
        notify(client, "jobs", "0")
        wait_until_delivered(proxy, 1)
        redis.process.send_signal(signal.SIGSTOP)
        notify(client, "jobs", *numbers(1, 20))
        wait_for_reason(proxy, "no answer within 0.3 s")
        redis.process.send_signal(signal.SIGCONT)
        wait_until_delivered(proxy, 20)
        assert first_of_each(redis.list("jobs")) == numbers(0, 20)


def E12_servers_that_are_no_redis_are_recognized(server):
    answers = {"http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the protocol"),
               "full": (b"-ERR max number of clients reached\r\n", "ERR max number of clients reached"),
               "chatty": (b"+OK\r\n" * 100, "answered what was not asked"),
               "array": (b"*2147483647\r\n:1\r\n", "closed the connection"),
               "endless": (b"$500000000\r\n" + b"x" * (4 << 20), "does not speak the protocol"),
               "deep": (b"*1\r\n" * 1000, "does not speak the protocol"),
               "silent": (b"", "closed the connection")}

    def speaker(answer):
        def behave(wire):
            wire.take(1)
            wire.send(answer)
        return behave

    upstreams = {name: Upstream(speaker(answer)) for name, (answer, _) in answers.items()}
    blocks = "".join(own(name, f"redis://127.0.0.1:{upstream.port}", attempts=3, timeout="10s") for name, upstream in upstreams.items())
    with Proxy(server, blocks) as proxy, proxy.log_in() as client:
        before = proxy.memory_kb()
        for name in answers:
            notify(client, name, "never")
        for name, (_, reason) in answers.items():
            (dead,) = proxy.wait_for_log(msg="event_dead", sink=name)
            assert reason in dead["reason"], dead
        assert proxy.memory_kb() < before + 20_000 or "asan" in os.environ.get("PGATOMIC", "")
    for upstream in upstreams.values():
        with upstream:
            pass


def E12_pgatomic_stops_and_reloads_while_redis_is_silent(server):
    with Redis() as redis, Mute() as mute:
        silent = config(f"redis://127.0.0.1:{mute.port}", timeout="60s")
        with Proxy(server, silent) as proxy, proxy.log_in() as client:
            notify(client, "jobs", *numbers(0, 10))
            wait_until(lambda: mute.accepted, "pgatomic to try")
            proxy.reload(config(redis.url()))
            wait_until_delivered(proxy, 10)
            assert redis.list("jobs") == numbers(0, 10)
            proxy.reload(silent)
            proxy.wait_for_log(count=2, msg="config reloaded")
            notify(client, "jobs", "never")
            wait_until(lambda: len(mute.accepted) > 1, "pgatomic to try again")
