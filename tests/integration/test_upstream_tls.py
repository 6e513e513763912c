"""TLS with the upstream (P10): whom pgatomic believes to be it, and what it does when it is not."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile

from certificates import Certificates
from postgres import PASSWORD, USER, Postgres
from proxy import Proxy, free_port, wait_until
from wire import (AUTHENTICATED, READY, SSL_REQUEST, Upstream, cancel_request, message, query, read_startup, startup,
                  welcome)


@contextlib.contextmanager
def certificates():
    directory = tempfile.mkdtemp(prefix="pgatomic-tls-")
    os.chmod(directory, 0o755)
    try:
        yield Certificates(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def postgres_with_tls(version=None):
    """A PostgreSQL, and the certificates that it shows and trusts."""
    server = Postgres(version)
    tls = Certificates(server.directory)
    os.chmod(tls.key, 0o600)
    if server.owner:
        os.chown(tls.key, server.owner.pw_uid, server.owner.pw_gid)
    server.settings.update({"ssl": "on", "ssl_cert_file": tls.certificate, "ssl_key_file": tls.key, "ssl_ca_file": tls.ca})
    with server:
        yield server, tls


def psql(proxy, sql, **environment):
    """Its status, and what it said; its own connection is plain."""
    settings = {"PGHOST": "127.0.0.1", "PGPORT": str(proxy.port), "PGUSER": USER, "PGPASSWORD": PASSWORD, "PGDATABASE": "postgres",
                "PGSSLMODE": "disable", **environment}
    done = subprocess.run(["psql", "-qXAtc", sql], env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False, timeout=60)
    return done.returncode, done.stdout.strip()


HOW = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def spoken(upstream):
    """How PostgreSQL sees the connection that a client gets: `f|`, or `t|TLSv1.3`."""
    with Proxy(upstream) as proxy:
        status, said = psql(proxy, HOW)
        assert status == 0, said
        return said


def refusal(upstream):
    """What a client is told that cannot be connected."""
    with Proxy(upstream) as proxy, proxy.connect() as client:
        client.send(startup(user="postgres", database="postgres"))
        error = client.fatal()
        assert error["C"] == "08006", error
        return error["M"]


# --- who it is --------------------------------------------------------------------------------------------


def P10_an_upstream_is_spoken_to_as_sslmode_says(server):
    with postgres_with_tls() as (secure, tls):
        for said, how in {"": "t|TLSv1.3", "sslmode=disable": "f|", "sslmode=prefer": "t|TLSv1.3", "sslmode=require": "t|TLSv1.3",
                          f"sslmode=verify-ca sslrootcert={tls.ca}": "t|TLSv1.3",
                          f"sslmode=verify-full sslrootcert={tls.ca}": "t|TLSv1.3"}.items():
            assert spoken(f"host=localhost port={secure.port} {said}") == how, said
        assert spoken(f"host={secure.directory} port={secure.port} sslmode=verify-full") == "f|", "a unix socket needs none"
    assert spoken(f"host=127.0.0.1 port={server.port}") == "f|", "it is only preferred"
    assert "server does not support TLS, but TLS was required" in refusal(f"host=127.0.0.1 port={server.port} sslmode=require")


def P10_an_upstream_that_is_not_the_right_one_hears_nothing(_):
    with postgres_with_tls() as (server, tls), certificates() as other:
        there = f"hostaddr=127.0.0.1 port={server.port}"
        wrong = {f"{there} host=db.example sslmode=verify-full sslrootcert={tls.ca}": "certificate is not good: hostname mismatch",
                 f"{there} host=localhost sslmode=verify-full sslrootcert={other.ca}": "certificate is not good",
                 f"{there} host=localhost sslmode=verify-ca sslrootcert={other.ca}": "certificate is not good",
                 f"{there} host=localhost sslmode=require sslrootcert={other.ca}": "certificate is not good",
                 f"{there} host=localhost sslmode=verify-full": "certificate is not good"}
        for upstream, words in wrong.items():
            assert words in refusal(upstream), upstream
        for upstream in (f"{there} host=db.example sslmode=verify-ca sslrootcert={tls.ca}", f"{there} host=db.example sslmode=require",
                         f"{there} sslmode=verify-full sslrootcert={tls.ca}"):
            assert spoken(upstream).startswith("t|"), upstream


def P10_a_certificate_of_ones_own_is_shown_to_the_upstream(_):
    with postgres_with_tls() as (server, tls):
        certificate, key = tls.issue("own", "/CN=app")
        there = f"host=localhost port={server.port} sslmode=verify-full sslrootcert={tls.ca}"
        with Proxy(f"{there} sslcert={certificate} sslkey={key}") as proxy:
            status, said = psql(proxy, "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert (status, said) == (0, "/CN=app"), said


def P10_direct_tls_to_an_upstream_that_knows_it(_):
    with postgres_with_tls(18) as (server, tls):
        there = f"host=localhost port={server.port} sslmode=verify-full sslrootcert={tls.ca}"
        assert spoken(f"{there} sslnegotiation=direct").startswith("t|")
        assert spoken(there).startswith("t|")
    with postgres_with_tls() as (server, tls):
        refusal(f"host=localhost port={server.port} sslmode=verify-full sslrootcert={tls.ca} sslnegotiation=direct")


def P10_the_next_host_is_tried_when_one_is_not_who_it_should_be(_):
    with postgres_with_tls() as (good, tls), certificates() as other, SecureUpstream(other, lambda wire: None) as impostor:
        upstream = f"host=localhost,localhost port={impostor.port},{good.port} sslmode=verify-full sslrootcert={tls.ca}"
        assert spoken(upstream).startswith("t|")
        words = refusal(f"host=localhost,127.0.0.1 port={impostor.port},{free_port()} sslmode=verify-full sslrootcert={tls.ca}")
        assert "certificate is not good" in words and "Connection refused" in words, words


def P10_files_of_an_upstream_are_read_again_on_a_reload(_):
    with postgres_with_tls() as (server, tls), certificates() as other:
        ca = os.path.join(other.directory, "trusted.pem")
        shutil.copy(other.ca, ca)
        with Proxy(f"host=localhost port={server.port} sslmode=verify-full sslrootcert={ca}") as proxy:
            status, said = psql(proxy, HOW)
            assert status != 0 and "certificate is not good" in said, said
            with open(ca, "w", encoding="ascii") as file:
                file.write("nothing")
            proxy.reload(proxy.blocks)
            assert ca in proxy.wait_for_log(msg="config refused")[0]["error"]
            assert not proxy.log_where(msg="config reloaded")
            shutil.copy(tls.ca, ca)
            proxy.reload(proxy.blocks)
            proxy.wait_for_log(msg="config reloaded")
            assert psql(proxy, HOW)[0] == 0


def P10_files_of_an_upstream_that_cannot_be_used_are_told_of_at_the_start(_):
    with certificates() as tls, Proxy("host=127.0.0.1 port=1 sslmode=disable") as proxy:
        config = os.path.join(tls.directory, "pgatomic.conf")
        with open(config, "w", encoding="ascii") as out:
            out.write('listen = {"127.0.0.1:0"}\ndatabase "*" { upstream = "host=a sslmode=verify-full sslrootcert=/nowhere.pem" }\n')
        status, said = proxy.run("run", "-c", config)
        assert status == 1 and "/nowhere.pem" in said, said


def P10_much_goes_through_tls_to_the_upstream(_):
    with postgres_with_tls() as (server, _tls), Proxy(f"host=localhost port={server.port} sslmode=require") as proxy:
        status, said = psql(proxy, "SELECT repeat('0123456789abcdef', 1 << 19)")
        assert status == 0 and said == "0123456789abcdef" * (1 << 19)
        rows = "".join(f"{number} {'x' * 100}\n" for number in range(50000))
        done = subprocess.run(["psql", "-qXAt", "-c", "CREATE TEMP TABLE copied (line text)", "-c", "\\copy copied FROM STDIN", "-c",
                               "SELECT count(*), sum(length(line)) FROM copied"], input=rows, stdout=subprocess.PIPE,
                              env={**os.environ, **server.environment(proxy.port), "PGSSLMODE": "disable"}, universal_newlines=True,
                              check=True, timeout=60)
        assert done.stdout.split("|") == ["50000", f"{len(rows) - 50000}\n"], done.stdout


def P9_scram_is_relayed_with_tls_on_one_leg(_):
    """Logins with a password have been the rule here; with both legs in TLS `check` refuses them."""
    with postgres_with_tls() as (server, tls):
        client_tls = f'client_tls {{ mode = require  certificate = "{tls.certificate}"  key = "{copy_of(tls.key)}" }}\n'
        with Proxy(f"host=127.0.0.1 port={server.port} sslmode=disable", client_tls) as proxy:
            assert psql(proxy, "SELECT 42", PGSSLMODE="require") == (0, "42")
        with Proxy(f"host=127.0.0.1 port={server.port} sslmode=require") as proxy:
            assert psql(proxy, "SELECT 42") == (0, "42")
            proxy.write_config(client_tls)
            status, said = proxy.run("check", "-c", proxy.config)
            assert status == 2 and "SCRAM cannot be relayed" in said, said


def copy_of(key):
    shutil.copy(key, key + ".copy")
    return key + ".copy"


# --- who would like to be it -------------------------------------------------------------------------------------


class SecureUpstream(Upstream):
    """A server by hand that speaks TLS when it is asked to, and then is told to `behave`."""

    def __init__(self, tls, behave):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tls.certificate, tls.key)
        self.asked = 0
        super().__init__(lambda wire: self.shake_hands(wire, behave))

    def shake_hands(self, wire, behave):
        assert wire.take(8) == SSL_REQUEST
        self.asked += 1
        wire.send(b"S")
        wire.socket = self.context.wrap_socket(wire.socket, server_side=True)
        behave(wire)


def P10_what_came_along_with_the_answer_never_counts_as_said_over_tls(_):
    """Whoever sits between could have put it there: the class of CVE-2021-23222."""
    stuffed = AUTHENTICATED + READY + message(b"E", b"SFATAL\0VFATAL\0C28P01\0Mgo to evil.example\0\0")
    for answer in (b"S", b"N"):
        for mode in ("prefer", "require"):
            heard = []

            def behave(wire, answer=answer, heard=heard):
                heard.append(wire.take(8))
                wire.send(answer + stuffed)
                heard.append(wire.take(1))

            with Upstream(behave) as upstream:
                words = refusal(f"host=127.0.0.1 port={upstream.port} sslmode={mode}")
                assert "more than its answer" in words and "evil" not in words, words
                assert heard == [SSL_REQUEST], "and it hears nothing"


def P10_an_answer_that_is_none_is_refused(_):
    for answer, words in {b"E": "sent an error response", b"X": "an answer that is none", b"": "closed the connection"}.items():
        with Upstream(lambda wire, answer=answer: (wire.take(8), wire.send(answer))) as upstream:
            for mode in ("prefer", "require"):
                assert words in refusal(f"host=127.0.0.1 port={upstream.port} sslmode={mode}"), answer


def P10_an_error_that_nobody_has_signed_is_not_passed_on(_):
    """CVE-2024-10977: what somebody in between says must not look like the server's words."""
    error = message(b"E", b"SFATAL\0VFATAL\0C28P01\0Mgo to evil.example\0\0")
    with Upstream(lambda wire: (wire.take(8), wire.send(error))) as upstream:
        assert "evil" not in refusal(f"host=127.0.0.1 port={upstream.port} sslmode=require")


def P10_a_handshake_that_fails_is_the_end_unless_tls_is_only_preferred(_):
    def behave(wire):
        packet = read_startup(wire)
        if packet == SSL_REQUEST:
            wire.send(b"S")
            wire.take(1)
            wire.send(b"this is no TLS")
            return
        wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") + READY)
        wire.read_to_end()

    with Upstream(behave) as upstream:
        assert "TLS:" in refusal(f"host=127.0.0.1 port={upstream.port} sslmode=require")
        with Proxy(f"host=127.0.0.1 port={upstream.port}") as proxy:
            proxy.log_in().close()


def P10_connect_timeout_bounds_the_handshake_too(_):
    with Upstream(lambda wire: wire.take(1000)) as upstream:
        block = f'database "*" {{ upstream = "host=127.0.0.1 port={upstream.port} sslmode=require"  connect_timeout = 250ms }}\n'
        with Proxy(1, block, database=False) as proxy, proxy.connect() as client:
            client.send(startup(user="a"))
            error = client.fatal()
            assert error["C"] == "08006" and "timeout expired" in error["M"], error


def P10_a_client_that_leaves_during_the_handshake_with_the_upstream_leaves_nothing_behind(_):
    asked = []
    with Upstream(lambda wire: (asked.append(wire.take(8)), wire.take(1))) as upstream:
        with Proxy(f"host=127.0.0.1 port={upstream.port} sslmode=require") as proxy:
            before = proxy.descriptors()
            with proxy.connect() as client:
                client.send(startup(user="a"))
                wait_until(lambda: asked == [SSL_REQUEST], "the upstream to be asked for TLS")
            proxy.wait_until_idle(before)


def P10_an_upstream_that_hangs_up_without_a_word_of_tls_is_lost(_):
    def behave(wire):
        read_startup(wire)
        wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") + READY)
        wire.read()
        socket.socket(fileno=wire.socket.detach()).close()

    with certificates() as tls, SecureUpstream(tls, behave) as upstream:
        with Proxy(f"host=127.0.0.1 port={upstream.port} sslmode=verify-full sslrootcert={tls.ca}") as proxy, proxy.log_in() as client:
            client.send(query("SELECT 1"))
            assert client.fatal()["C"] == "08006"


def P7_a_cancel_request_goes_to_the_upstream_as_its_connection_did(_):
    secret = bytes(range(32))
    cancelled = []

    def behave(wire):
        packet = read_startup(wire)
        if packet[4:8] == cancel_request(0, b"")[4:8]:
            cancelled.append(packet)
            return
        wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") + message(b"K", b"\0\0\0\7" + secret) + READY)
        wire.read_to_end()

    with certificates() as tls, SecureUpstream(tls, behave) as upstream:
        with Proxy(f"host=localhost port={upstream.port} sslmode=verify-full sslrootcert={tls.ca}") as proxy:
            with proxy.log_in() as client, proxy.connect() as canceller:
                canceller.send(cancel_request(client.process_id, client.secret))
                assert canceller.is_closed()
                assert cancelled == [cancel_request(7, secret)] and upstream.asked == 2


def P10_hosts_may_be_tried_in_any_order(_):
    """load_balance_hosts=random: nobody says which, but each is met."""
    met = set()

    def behave(wire):
        met.add(wire.socket.getsockname()[1])
        welcome(wire)
        wire.read_to_end()

    with contextlib.ExitStack() as stack:
        upstreams = [stack.enter_context(Upstream(behave)) for _ in range(3)]
        ports = ",".join(str(upstream.port) for upstream in upstreams)
        there = f"host=127.0.0.1,127.0.0.1,127.0.0.1 port={ports} sslmode=disable"
        with Proxy(there) as proxy:
            for _ in range(5):
                proxy.log_in().close()
        assert len(met) == 1, "without it, the first one that answers"
        with Proxy(f"{there} load_balance_hosts=random") as proxy:
            wait_until(lambda: proxy.log_in().close() or len(met) == 3, "each host to be met")
