"""The first bytes of a connection (P1, P2, P9): what is allowed, what is not, and what is passed on."""

import random
import socket
import struct

from proxy import Proxy, free_port
from wire import (AUTHENTICATED, GSSENC_REQUEST, READY, SSL_REQUEST, Client, Upstream, fields, message, query, read_startup,
                  startup, welcome)


def log_in_still_works(proxy):
    """What was done to one connection has had no effect on others."""
    with proxy.log_in() as client:
        assert client.value("SELECT 42") == "42"


def P1_encryption_is_refused_and_the_login_goes_on(server):
    with Proxy(server) as proxy, proxy.connect() as client:
        client.send(GSSENC_REQUEST)
        assert client.take(1) == b"N"
        client.send(SSL_REQUEST)
        assert client.take(1) == b"N"
        client.log_in()
        assert client.value("SELECT 1") == "1"


def P1_a_second_request_for_encryption_is_a_violation(server):
    with Proxy(server) as proxy:
        for request in (SSL_REQUEST, GSSENC_REQUEST):
            with proxy.connect() as client:
                client.send(request)
                assert client.take(1) == b"N"
                client.send(request)
                assert client.fatal()["C"] == "08P01"
        log_in_still_works(proxy)


def P1_bytes_sent_ahead_of_the_answer_to_an_ssl_request_are_a_violation(server):
    with Proxy(server) as proxy:
        with proxy.connect() as client:
            client.send(SSL_REQUEST + startup(user="postgres"))
            assert client.fatal()["C"] == "08P01"
        log_in_still_works(proxy)


def P2_what_is_no_startup_packet_is_closed_without_an_answer(server):
    garbage = {
        "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "TLS": bytes.fromhex("16030100c5010000c10303") + bytes(100),
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "length 0": struct.pack("!i", 0) + bytes(8),
        "length 4": struct.pack("!i", 4) + bytes(8),
        "length 7": struct.pack("!i", 7) + bytes(8),
        "a negative length": struct.pack("!i", -1) + bytes(8),
        "the greatest length": struct.pack("!i", 0x7FFFFFFF) + bytes(8),
        "one byte too long": struct.pack("!ii", 10 * 1024 + 1, 3 << 16),
    }
    with Proxy(server) as proxy:
        for count, (name, data) in enumerate(garbage.items(), 1):
            with proxy.connect() as client:
                client.send(data)
                assert client.is_closed(), name
            proxy.wait_for_log(count, msg="connection closed: not a startup packet")
        log_in_still_works(proxy)


def P2_a_packet_that_could_be_one_but_is_wrong_gets_08P01(server):
    wrong = {
        "protocol 2.0": startup(version=2 << 16, user="postgres"),
        "protocol 4.0": startup(version=4 << 16, user="postgres"),
        "a code that no request has": struct.pack("!ii", 8, 1234 << 16 | 1),
        "an SSLRequest that is too long": struct.pack("!ii", 12, 1234 << 16 | 5679) + bytes(4),
        "a name without a value": struct.pack("!ii", 13, 3 << 16) + b"user\0",
        "no end": struct.pack("!ii", 14, 3 << 16) + b"user\0a",
        "bytes behind the end": struct.pack("!ii", 19, 3 << 16) + b"user\0a\0\0a\0b",
    }
    with Proxy(server) as proxy:
        for name, data in wrong.items():
            with proxy.connect() as client:
                client.send(data)
                assert client.fatal()["C"] == "08P01", name
        log_in_still_works(proxy)


def P1_a_startup_packet_may_come_byte_by_byte(server):
    with Proxy(server) as proxy, proxy.connect() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in SSL_REQUEST:
            client.send(bytes([byte]))
        assert client.take(1) == b"N"
        for byte in startup(user="postgres", database="postgres"):
            client.send(bytes([byte]))
        client.read_until(b"Z")
        assert client.value("SELECT 1") == "1"


def P1_what_follows_the_startup_packet_early_waits_for_the_session(server):
    with Proxy(server) as proxy, proxy.connect() as client:
        client.send(startup(user="postgres", database="postgres") + query("SELECT 'early'"))
        client.read_until(b"Z")
        assert (b"D", b"\0\1\0\0\0\5early") in client.read_until(b"Z")


def P1_a_newer_minor_version_is_negotiated_by_the_upstream(server):
    with Proxy(server) as proxy, proxy.connect() as client:
        client.log_in(version=3 << 16 | 9999, **{"_pq_.unheard_of": "1"})
        negotiated = [body for kind, body in client.said if kind == b"v"]
        assert len(negotiated) == 1 and b"_pq_.unheard_of" in negotiated[0], client.said
        assert client.value("SELECT 1") == "1"


def P1_a_second_startup_packet_ends_the_connection(server):
    with Proxy(server) as proxy:
        with proxy.log_in() as client:
            client.send(startup(user="somebody", database="else"))
            assert client.fatal()["C"] == "08P01"
        with proxy.log_in() as client:
            client.send(SSL_REQUEST)
            assert client.fatal()["C"] == "08P01"
        log_in_still_works(proxy)


def P2_no_user_no_login(server):
    with Proxy(server) as proxy, proxy.connect() as client:
        client.send(startup(database="postgres"))
        assert client.fatal()["C"] == "28000"


def P2_a_database_without_a_block_does_not_exist(server):
    block = f'database "shop" {{ upstream = "host={server.directory} port={server.port} dbname=postgres" }}\n'
    with Proxy(server, block, database=False) as proxy:
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="other"))
            error = client.fatal()
            assert error["C"] == "3D000" and '"other"' in error["M"], error
        with proxy.log_in(database="shop") as client:
            assert client.value("SELECT current_database()") == "postgres"


def P2_limits_clients_bounds_sessions_and_frees_their_places(server):
    with Proxy(server, "limits { clients = 2 }\n") as proxy:
        first, second = proxy.log_in(), proxy.log_in()
        with proxy.connect() as third:
            third.send(startup(user="postgres", database="postgres"))
            assert third.fatal()["C"] == "53300"
        second.close()
        proxy.wait_until_idle(proxy.descriptors())
        wait_for_place(proxy)
        first.close()


def wait_for_place(proxy):
    """The place of a client that has gone is free soon after."""
    while True:
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres"))
            kind, body = client.read()
            if kind == b"R":
                return
            assert fields(body)["C"] == "53300"


def P2_limits_startup_bounds_the_packet(server):
    with Proxy(server, "limits { startup = 1kB }\n") as proxy:
        with proxy.connect() as client:
            client.send(startup(user="postgres", application_name="x" * 1024))
            assert client.is_closed()
        with proxy.log_in(application_name="x" * 32) as client:
            assert client.value("SHOW application_name") == "x" * 32


def shell_the_upstreams_refusal_reaches_the_client_as_it_is(server):
    with Proxy(server) as proxy, proxy.connect() as client, Client(proxy.port) as other:
        client.send(startup(user="postgres", database="no such database"))
        assert client.fatal()["C"] == "3D000"
        other.send(startup(user="nobody", database="postgres"))
        assert other.fatal()["C"] == "28000"


def shell_an_upstream_that_is_down_is_named_with_the_systems_words(server):
    port = free_port()
    with Proxy(port) as proxy, proxy.connect() as client:
        client.send(startup(user="postgres"))
        error = client.fatal()
        assert error["C"] == "08006" and str(port) in error["M"] and "Connection refused" in error["M"], error


def shell_hosts_are_tried_in_order(server):
    down = free_port()
    upstream = f"host=127.0.0.1,{server.directory} port={down},{server.port}"
    with Proxy(upstream) as proxy:
        log_in_still_works(proxy)
    with Proxy(f"host=127.0.0.1,localhost,/nowhere port={down}") as proxy, proxy.connect() as client:
        client.send(startup(user="postgres"))
        words = client.fatal()["M"]
        assert words.count("Connection refused") >= 2 and "No such file or directory" in words, words


def shell_names_are_resolved(server):
    with Upstream(lambda wire: (welcome(wire), wire.read_to_end())) as upstream:
        with Proxy(f"host=localhost port={upstream.port} sslmode=disable") as proxy:
            for _ in range(3):
                proxy.log_in().close()
    with Proxy("host=no-such-host.invalid port=1") as proxy, proxy.connect() as client:
        client.send(startup(user="postgres"))
        error = client.fatal()
        assert error["C"] == "08006" and "no-such-host.invalid" in error["M"], error


def shell_connect_timeout_bounds_a_host_that_does_not_answer(server):
    """A listener whose queue is full does not take the connection."""
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued.connect(full.getsockname())
        block = f'database "*" {{ upstream = "host=127.0.0.1 port={full.getsockname()[1]}"  connect_timeout = 250ms }}\n'
        with Proxy(server, block, database=False) as proxy, proxy.connect() as client:
            client.send(startup(user="postgres"))
            error = client.fatal()
            assert error["C"] == "08006" and "timeout expired" in error["M"], error


def shell_a_client_that_leaves_while_the_upstream_is_dialed_leaves_nothing_behind(server):
    with socket.socket() as full, socket.socket() as queued:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        queued.connect(full.getsockname())
        with Proxy(full.getsockname()[1]) as proxy:
            before = proxy.descriptors()
            with proxy.connect() as client:
                client.send(startup(user="postgres"))
            proxy.wait_until_idle(before)


def shell_a_client_learns_the_version_before_it_is_ready(server):
    with Proxy(server) as proxy, proxy.log_in() as client:
        assert client.parameters["pgatomic_version"] == proxy.run("--version")[1].split()[1]
        assert client.parameters["server_version"].startswith("1")


def P3_each_client_has_a_server_of_its_own_with_its_own_parameters(server):
    with Proxy(server) as proxy, proxy.log_in(application_name="one") as one, proxy.log_in(application_name="two") as two:
        for client, name in (one, "one"), (two, "two"):
            assert client.value("SHOW application_name") == name
            assert client.value("SELECT pg_backend_pid()") == str(client.process_id), "its key is its server's"
        assert one.process_id != two.process_id


def shell_the_label_of_a_connection_comes_from_the_startup_packet(server):
    route = 'route "r" { match = "/start/*"  mode = atomic  end = commit }\n'
    with Proxy(server, route) as proxy:
        for number, parameters in enumerate(({"pgatomic.request": "/start/a"}, {"options": "-c pgatomic.request=/start/a"},
                                             {"options": "-c work_mem=1MB --pgatomic.request=/start/a"}), 1):
            with proxy.log_in(**parameters) as client:
                client.ask("SELECT 1")
                client.send(b"X\0\0\0\4")
                assert client.is_closed()
            proxy.wait_for_log(number, msg="request_committed", label="/start/a", route="r")


def P9_an_answer_that_is_no_password_is_a_violation(server):
    def behave(wire):
        read_startup(wire)
        wire.send(message(b"R", struct.pack("!i", 3)))
        wire.read_to_end()

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy, proxy.connect() as client:
        client.send(startup(user="a"))
        assert client.read()[0] == b"R"
        client.send(query("SELECT 1"))
        assert client.fatal()["C"] == "08P01"


def P9_channel_binding_is_not_offered(server):
    heard = []

    def behave(wire):
        read_startup(wire)
        wire.send(message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))
        heard.append(wire.read())
        wire.send(AUTHENTICATED + READY)
        wire.read_to_end()

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy, proxy.connect() as client:
        client.send(startup(user="a"))
        assert client.read() == (b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")
        client.send(message(b"p", b"SCRAM-SHA-256\0\0\0\0\4n,,n"))
        client.read_until(b"Z")
        assert heard == [(b"p", b"SCRAM-SHA-256\0\0\0\0\4n,,n")]


def P9_a_password_is_passed_on_once_for_each_question(server):
    heard = []

    def behave(wire):
        read_startup(wire)
        wire.send(message(b"R", struct.pack("!i", 5) + b"salt"))
        heard.append(wire.read())
        wire.send(AUTHENTICATED + READY)
        heard.append(wire.read())
        wire.send(message(b"C", b"SELECT 1\0") + READY)
        wire.read_to_end()

    with Upstream(behave) as upstream, Proxy(upstream.port) as proxy, proxy.connect() as client:
        client.send(startup(user="a") + message(b"p", b"md5secret\0") + query("SELECT 1"))
        client.read_until(b"Z")
        client.read_until(b"Z")
        assert [kind for kind, _ in heard] == [b"p", b"Q"]
        log = "".join(map(str, proxy.log_lines()))
        assert "md5secret" not in log


def P2_an_upstream_that_does_not_speak_the_protocol_is_told_of(server):
    for said in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\1", b"\0" * 64):
        with Upstream(lambda wire, said=said: (read_startup(wire), wire.send(said), wire.read_to_end())) as upstream:
            with Proxy(upstream.port) as proxy, proxy.connect() as client:
                client.send(startup(user="a"))
                assert client.fatal()["C"] == "08P01", said


def shell_an_upstream_that_hangs_up_during_the_login_is_told_of(server):
    with Upstream(lambda wire: (read_startup(wire), wire.close())) as upstream, Proxy(upstream.port) as proxy:
        with proxy.connect() as client:
            client.send(startup(user="a"))
            assert client.fatal()["C"] == "08006"


def P2_random_bytes_harm_nobody(server):
    rows = random.Random(7)
    with Proxy(server) as proxy, proxy.log_in() as bystander:
        before = proxy.descriptors()
        for _ in range(300):
            data = bytes(rows.getrandbits(8) for _ in range(rows.randrange(1, 64)))
            if rows.random() < 0.7:
                data = struct.pack("!i", rows.choice([8, 12, 16, 24, 40])) + rows.choice([b"\0\3\0\0", b"\4\xd2\x16\x2e", b""]) + data
            with proxy.connect() as client:
                client.send(data)
                client.socket.shutdown(socket.SHUT_WR)
        with proxy.log_in() as client:
            for _ in range(50):
                with proxy.log_in() as victim:
                    victim.send(bytes(rows.getrandbits(8) for _ in range(rows.randrange(1, 200))))
                    victim.socket.shutdown(socket.SHUT_WR)
                    victim.socket.settimeout(30)
                    while victim.socket.recv(65536):
                        pass
            assert client.value("SELECT 1") == "1"
        assert bystander.value("SELECT 2") == "2"
        proxy.wait_until_idle(before)
        proxy.check_alive()
