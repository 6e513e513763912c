"""TLS with clients (P1, P10): how it begins, who may come in, and that nothing that was said in plain counts inside it."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import warnings

import psycopg
from certificates import Certificates
from proxy import Proxy, wait_until
from wire import (GSSENC_REQUEST, SSL_REQUEST, Client, cancel_request, fields, query, startup)

SLEEP = "SELECT pg_sleep(600)"


@contextlib.contextmanager
def directory_with_certificates():
    directory = tempfile.mkdtemp(prefix="pgatomic-tls-")
    try:
        yield Certificates(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def client_tls(tls, mode, ca=""):
    return f'client_tls {{ mode = {mode}  certificate = "{tls.certificate}"  key = "{tls.key}"  ca = "{ca}" }}\n'


@contextlib.contextmanager
def proxy_with_tls(server, mode="prefer", **options):
    """The proxy, and the certificates that it and its clients use."""
    with directory_with_certificates() as tls:
        ca = tls.ca if mode.startswith("verify") else ""
        with Proxy(server, client_tls(tls, mode, ca), **options) as proxy:
            yield proxy, tls


def context_for(tls, certificate=None, alpn=None):
    """A client's side of a handshake, that trusts the test's authority alone."""
    context = ssl.create_default_context(cafile=tls.ca)
    if certificate:
        context.load_cert_chain(*certificate)
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


class SecureClient(Client):
    """A client that asks for TLS first, or begins with it."""

    def __init__(self, port, context, direct=False):
        super().__init__(port)
        if not direct:
            self.send(SSL_REQUEST)
            assert self.take(1) == b"S"
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


def psql(proxy, tls, sql, **environment):
    """Its status, and what it said."""
    settings = {"PGHOST": "localhost", "PGPORT": str(proxy.port), "PGUSER": "postgres", "PGDATABASE": "postgres",
                "PGSSLMODE": "verify-full", "PGSSLROOTCERT": tls.ca, "HOME": tls.directory, **environment}
    done = subprocess.run(["psql", "-qXAtc", sql], env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False, timeout=60)
    return done.returncode, done.stdout.strip()


def newest_libpq(proxy, tls, **options):
    return psycopg.connect(host="localhost", port=proxy.port, user="postgres", dbname="postgres",
                           **{"sslmode": "verify-full", "sslrootcert": tls.ca, "autocommit": True, **options})


def answers(client):
    return client.log_in().value("SELECT 42") == "42"


# --- beginning ------------------------------------------------------------------------------------------


def P10_clients_verify_the_certificate_that_they_are_shown(server):
    with proxy_with_tls(server, "require") as (proxy, tls), directory_with_certificates() as other:
        assert psql(proxy, tls, "SELECT 42") == (0, "42")
        status, said = psql(proxy, other, "SELECT 42")
        assert status != 0 and "certificate verify failed" in said, said
        with newest_libpq(proxy, tls) as client:
            assert client.execute("SELECT 42").fetchone() == (42,)
        proxy.wait_for_log(msg="connection closed: no TLS handshake", detail="TLS: tlsv1 alert unknown ca")


def P10_prefer_takes_clients_with_and_without_tls(server):
    with proxy_with_tls(server) as (proxy, tls):
        assert psql(proxy, tls, "SELECT 42", PGSSLMODE="disable") == (0, "42")
        assert psql(proxy, tls, "SELECT 42") == (0, "42")


def P10_where_tls_is_required_a_login_without_it_gets_28000(server):
    for mode in ("require", "verify-ca", "verify-full"):
        with proxy_with_tls(server, mode) as (proxy, tls), proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres"))
            error = client.fatal()
            assert error["C"] == "28000" and "no encryption" in error["M"], error
            status, said = psql(proxy, tls, "SELECT 42", PGSSLMODE="disable")
            assert status != 0 and "no encryption" in said, said


def P10_a_unix_socket_needs_no_tls(server):
    with directory_with_certificates() as tls:
        proxy = Proxy(server, client_tls(tls, "verify-full", tls.ca))
        proxy.listen.append(f"unix:{tls.directory}:6432")
        with proxy:
            assert psql(proxy, tls, "SELECT 42", PGHOST=tls.directory, PGPORT="6432") == (0, "42")


def P1_direct_tls_begins_with_the_first_byte(server):
    with proxy_with_tls(server, "require") as (proxy, tls):
        with newest_libpq(proxy, tls, sslnegotiation="direct") as client:
            assert client.execute("SELECT 42").fetchone() == (42,)
        with SecureClient(proxy.port, context_for(tls, alpn="postgresql"), direct=True) as client:
            assert client.socket.selected_alpn_protocol() == "postgresql" and answers(client)


def P1_direct_tls_without_alpn_is_refused(server):
    with proxy_with_tls(server, "require") as (proxy, tls):
        with SecureClient(proxy.port, context_for(tls), direct=True) as client:
            client.send(startup(user="postgres", database="postgres"))
            error = client.fatal()
            assert error["C"] == "08P01" and "ALPN" in error["M"], error


def P1_tls_for_another_protocol_is_refused(server):
    with proxy_with_tls(server, "require") as (proxy, tls):
        for direct in (True, False):
            try:
                SecureClient(proxy.port, context_for(tls, alpn="http/1.1"), direct)
                raise AssertionError("a web browser was let in")
            except ssl.SSLError as error:
                assert "no application protocol" in str(error), error


def P1_alpn_is_optional_behind_an_ssl_request(server):
    with proxy_with_tls(server, "require") as (proxy, tls):
        for alpn in (None, "postgresql"):
            with SecureClient(proxy.port, context_for(tls, alpn=alpn)) as client:
                assert client.socket.selected_alpn_protocol() == alpn and answers(client)


def P1_gss_encryption_is_refused_and_tls_may_follow(server):
    with proxy_with_tls(server, "require") as (proxy, tls), proxy.connect() as client:
        client.send(GSSENC_REQUEST)
        assert client.take(1) == b"N"
        client.send(SSL_REQUEST)
        assert client.take(1) == b"S"
        client.socket = context_for(tls).wrap_socket(client.socket, server_hostname="localhost")
        assert answers(client)


def P1_direct_tls_behind_another_request_is_none(server):
    with proxy_with_tls(server) as (proxy, tls), proxy.connect() as client:
        client.send(GSSENC_REQUEST)
        assert client.take(1) == b"N"
        try:
            context_for(tls, alpn="postgresql").wrap_socket(client.socket, server_hostname="localhost")
            raise AssertionError("TLS began in the middle")
        except OSError:
            proxy.wait_for_log(msg="connection closed: not a startup packet")


# --- what is out of place ---------------------------------------------------------------------------------


def P1_what_is_asked_for_inside_tls_is_a_violation(server):
    with proxy_with_tls(server) as (proxy, tls):
        for direct in (True, False):
            for request in (SSL_REQUEST, GSSENC_REQUEST):
                with SecureClient(proxy.port, context_for(tls, alpn="postgresql"), direct) as client:
                    client.send(request)
                    assert client.fatal()["C"] == "08P01"


def P1_tls_inside_tls_is_closed(server):
    """CVE-2024-4317 and its like: state that is set up twice."""
    with proxy_with_tls(server) as (proxy, tls):
        for direct in (True, False):
            with SecureClient(proxy.port, context_for(tls, alpn="postgresql"), direct) as client:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                inner = context_for(tls).wrap_bio(incoming, outgoing, server_hostname="localhost")
                with contextlib.suppress(ssl.SSLWantReadError):
                    inner.do_handshake()
                client.send(outgoing.read())
                assert client.is_closed()
        proxy.wait_for_log(2, msg="connection closed: not a startup packet")


def P1_plaintext_sent_along_with_the_ssl_request_never_counts_as_sent_over_tls(server):
    """Whoever sits between could have put it there: the class of CVE-2021-23214."""
    stuffed = startup(user="postgres", database="postgres", application_name="stuffed")
    for mode in ("prefer", "require"):
        with proxy_with_tls(server, mode) as (proxy, _), proxy.connect() as client:
            client.send(SSL_REQUEST + stuffed)
            error = client.fatal()
            assert error["C"] == "08P01" and "before its answer" in error["M"], error
            assert not proxy.log_where(detail="login"), "nothing of it was looked at"


def P1_plaintext_sent_ahead_of_the_handshake_never_counts_as_sent_over_tls(server):
    """The same a moment later: the bytes find TLS waiting, and are no handshake."""
    with proxy_with_tls(server) as (proxy, _), proxy.connect() as client:
        client.send(SSL_REQUEST)
        assert client.take(1) == b"S"
        client.send(startup(user="postgres", database="postgres"))
        said = client.socket.recv(4096)
        assert said[:1] in (b"", b"\x15"), "an alert at most"
        proxy.wait_for_log(msg="connection closed: no TLS handshake")
        assert not proxy.log_where(detail="login")


def P1_an_ssl_request_that_comes_byte_by_byte_is_answered_once(server):
    with proxy_with_tls(server) as (proxy, tls), proxy.connect() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in SSL_REQUEST:
            client.send(bytes([byte]))
        assert client.take(1) == b"S"
        client.socket = context_for(tls).wrap_socket(client.socket, server_hostname="localhost")
        assert answers(client)


def P1_garbage_in_place_of_a_handshake_is_closed(server):
    with proxy_with_tls(server) as (proxy, tls):
        garbage = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1\0\0", b"\x16\3\1\x40\1" + bytes(0x4001), bytes(64), b"\x80\x2e\1\0\2"]
        before = proxy.descriptors()
        for data in garbage:
            for direct in (True, False):
                with proxy.connect() as client:
                    if not direct:
                        client.send(SSL_REQUEST)
                        assert client.take(1) == b"S"
                    client.send(data)
                    client.socket.shutdown(socket.SHUT_WR)
                    with contextlib.suppress(ConnectionError):
                        while client.socket.recv(4096):
                            pass
        assert psql(proxy, tls, "SELECT 42") == (0, "42")
        proxy.wait_until_idle(before)


def P10_tls_before_1_2_is_refused(server):
    with proxy_with_tls(server) as (proxy, tls), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            old = context_for(tls)
            old.set_ciphers("ALL:@SECLEVEL=0")
            old.minimum_version = old.maximum_version = version
            try:
                SecureClient(proxy.port, old)
                raise AssertionError(f"{version} was spoken")
            except ssl.SSLError as error:
                assert "PROTOCOL_VERSION" in str(error), error
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            new = context_for(tls)
            new.minimum_version = new.maximum_version = version
            with SecureClient(proxy.port, new) as client:
                assert answers(client)


# --- time, and ends -----------------------------------------------------------------------------------------


def P10_a_handshake_in_pieces_makes_nobody_wait(server):
    with proxy_with_tls(server) as (proxy, tls), proxy.connect() as slow:
        slow.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.send(SSL_REQUEST)
        assert slow.take(1) == b"S"
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inside = context_for(tls).wrap_bio(incoming, outgoing, server_hostname="localhost")
        is_done = False
        while not is_done:
            try:
                inside.do_handshake()
                is_done = True
            except ssl.SSLWantReadError:
                pass
            for at, byte in enumerate(outgoing.read()):
                slow.send(bytes([byte]))
                if at == 20:
                    with SecureClient(proxy.port, context_for(tls)) as other:
                        assert answers(other)
            if not is_done:
                incoming.write(slow.socket.recv(65536))
        inside.write(startup(user="postgres", database="postgres"))
        slow.send(outgoing.read())
        incoming.write(slow.socket.recv(65536))
        assert inside.read(1) == b"R"


def P10_a_client_that_leaves_in_the_handshake_leaves_nothing_behind(server):
    with proxy_with_tls(server) as (proxy, tls):
        before = proxy.descriptors()
        for direct in (True, False):
            with proxy.connect() as client:
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                inside = context_for(tls, alpn="postgresql").wrap_bio(incoming, outgoing, server_hostname="localhost")
                with contextlib.suppress(ssl.SSLWantReadError):
                    inside.do_handshake()
                if not direct:
                    client.send(SSL_REQUEST)
                    assert client.take(1) == b"S"
                client.send(outgoing.read()[:100])
        proxy.wait_until_idle(before)
        proxy.wait_for_log(2, msg="connection closed: no TLS handshake", detail="TLS: the client closed the connection during the handshake")


def P10_a_client_that_hangs_up_without_a_word_of_tls_is_gone(server):
    with proxy_with_tls(server) as (proxy, tls):
        before = proxy.descriptors()
        client = SecureClient(proxy.port, context_for(tls)).log_in()
        client.ask("CREATE TABLE unfinished (i int); DROP TABLE unfinished; BEGIN")
        with socket.socket(fileno=client.socket.detach()) as bare:
            bare.shutdown(socket.SHUT_WR)
            proxy.wait_until_idle(before)


def P10_much_goes_through_tls_in_both_directions(server):
    size = 8 << 20
    with proxy_with_tls(server, "require") as (proxy, tls), newest_libpq(proxy, tls) as client:
        text = "0123456789abcdef" * (size // 16)
        assert client.execute("SELECT %s || ''", [text]).fetchone()[0] == text
        client.execute("CREATE TEMP TABLE copied (line text)")
        with client.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            for number in range(20000):
                copy.write(f"{number} {'x' * 100}\n")
        with client.cursor() as cursor, cursor.copy("COPY copied TO STDOUT") as copy:
            lines = b"".join(bytes(part) for part in copy).decode().splitlines()
        assert [int(line.split()[0]) for line in lines] == list(range(20000))


# --- certificates ---------------------------------------------------------------------------------------------


def shown_certificate(proxy):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with SecureClient(proxy.port, context) as client:
        return client.socket.getpeercert(binary_form=True)


def P10_certificates_are_read_again_on_a_reload(server):
    with proxy_with_tls(server) as (proxy, tls):
        old = shown_certificate(proxy)
        with SecureClient(proxy.port, context_for(tls)) as client:
            answers(client)
            tls.issue("server", "/CN=renewed", "-addext", "subjectAltName=DNS:localhost")
            assert shown_certificate(proxy) == old, "nobody has said so yet"
            proxy.reload(proxy.blocks)
            wait_until(lambda: shown_certificate(proxy) != old, "the new certificate to be shown")
            assert client.value("SELECT 42") == "42", "who is there stays"
        assert psql(proxy, tls, "SELECT 42") == (0, "42")


def P10_a_reload_that_brings_tls_brings_it_to_those_who_have_not_begun(server):
    with directory_with_certificates() as tls, Proxy(server) as proxy:
        blocks = proxy.blocks
        with Client(proxy.port) as begun, Client(proxy.port) as silent:
            begun.send(SSL_REQUEST[:1])
            proxy.log_in().close()  # who comes later is served later
            proxy.reload(client_tls(tls, "prefer") + blocks)
            wait_until(lambda: psql(proxy, tls, "SELECT 42") == (0, "42"), "the reload")
            begun.send(b"\x16\x03\x01")
            assert begun.socket.recv(1) == b"", "what it says is no handshake: one begins with the first byte"
            silent.send(SSL_REQUEST)
            assert silent.take(1) == b"S"
        assert psql(proxy, tls, "SELECT 42") == (0, "42")


def P10_a_certificate_that_cannot_be_read_leaves_the_old_one_in_use(server):
    with proxy_with_tls(server) as (proxy, tls), directory_with_certificates() as other:
        old = shown_certificate(proxy)
        good = {name: open(name, encoding="ascii").read() for name in (tls.certificate, tls.key)}
        spoilt = {"no certificate": (tls.certificate, "nothing"), "another's key": (tls.key, open(other.key, encoding="ascii").read())}
        for count, (what, (file, text)) in enumerate(spoilt.items(), 1):
            with open(file, "w", encoding="ascii") as out:
                out.write(text)
            proxy.reload(proxy.blocks)
            line = proxy.wait_for_log(count, msg="config refused")[-1]
            assert file in line["error"] and not proxy.log_where(msg="config reloaded"), what
            assert shown_certificate(proxy) == old, what
            with open(file, "w", encoding="ascii") as out:
                out.write(good[file])


def P10_files_that_cannot_be_used_are_told_of_at_the_start(server):
    with directory_with_certificates() as tls, Proxy(server) as proxy:
        for certificate, key, ca in (("/nowhere.pem", tls.key, ""), (tls.certificate, "/nowhere.key", ""),
                                     (tls.certificate, tls.key, "/nowhere.ca"), (tls.certificate, tls.ca_key, "")):
            config = os.path.join(tls.directory, "pgatomic.conf")
            with open(config, "w", encoding="ascii") as out:
                out.write(f'listen = {{"127.0.0.1:0"}}\nclient_tls {{ mode = require  certificate = "{certificate}"  key = "{key}"  '
                          f'ca = "{ca}" }}\ndatabase "*" {{ upstream = "{proxy.upstream}" }}\n')
            status, said = proxy.run("run", "-c", config)
            assert status == 1 and "cannot use the files of client_tls" in said, said


def P10_prefer_is_the_default_and_without_a_certificate_the_answer_is_no(server):
    with Proxy(server) as proxy:
        with proxy.connect() as client:
            client.send(SSL_REQUEST)
            assert client.take(1) == b"N"
        with directory_with_certificates() as tls:
            proxy.reload(f'client_tls {{ certificate = "{tls.certificate}"  key = "{tls.key}" }}\n')
            proxy.wait_for_log(msg="config reloaded")
            assert psql(proxy, tls, "SELECT 42") == (0, "42")
            with proxy.log_in() as client:
                assert client.value("SELECT 42") == "42", "who does not ask for TLS does without"


def P10_files_are_looked_for_beside_the_config_wherever_pgatomic_is_started(server):
    with directory_with_certificates() as tls, Proxy(server) as proxy:
        for file in (tls.certificate, tls.key):
            shutil.copy(file, proxy.directory)
        name, key = os.path.basename(tls.certificate), os.path.basename(tls.key)
        proxy.reload(f'client_tls {{ mode = require  certificate = "{name}"  key = "{key}" }}\n')
        proxy.wait_for_log(msg="config reloaded")
        assert os.getcwd() != proxy.directory and psql(proxy, tls, "SELECT 42") == (0, "42")


def P10_a_certificate_is_demanded_of_clients_and_verified(server):
    with proxy_with_tls(server, "verify-ca") as (proxy, tls), directory_with_certificates() as other:
        good, stranger = tls.issue("client", "/CN=anybody"), other.issue("client", "/CN=anybody")
        assert psql(proxy, tls, "SELECT 42", PGSSLCERT=good[0], PGSSLKEY=owned(good[1])) == (0, "42")
        status, said = psql(proxy, tls, "SELECT 42")
        assert status != 0 and "certificate required" in said, said
        status, said = psql(proxy, tls, "SELECT 42", PGSSLCERT=stranger[0], PGSSLKEY=owned(stranger[1]))
        assert status != 0 and "unknown ca" in said, said
        proxy.wait_for_log(msg="connection closed: no TLS handshake", detail="TLS: peer did not return a certificate")


def owned(key):
    """libpq refuses a key that others may read."""
    os.chmod(key, 0o600)
    return key


def P10_with_verify_full_the_certificate_has_to_be_the_users_own(server):
    with proxy_with_tls(server, "verify-full") as (proxy, tls):
        own, others = tls.issue("own", "/O=postgres/CN=postgres"), tls.issue("others", "/O=postgres/CN=postgres.example")
        with SecureClient(proxy.port, context_for(tls, own)) as client:
            assert answers(client)
        with SecureClient(proxy.port, context_for(tls, others)) as client:
            client.send(startup(user="postgres", database="postgres"))
            error = client.fatal()
            assert error["C"] == "28000" and 'certificate authentication failed for user "postgres"' in error["M"], error


def P10_a_stricter_config_holds_for_those_who_shook_hands_before_it(server):
    with proxy_with_tls(server, "prefer") as (proxy, tls):
        early = SecureClient(proxy.port, context_for(tls))
        early.socket.getpeercert()
        proxy.reload(client_tls(tls, "verify-ca", tls.ca))
        proxy.wait_for_log(msg="config reloaded")
        with early:
            early.send(startup(user="postgres", database="postgres"))
            error = early.fatal()
            assert error["C"] == "28000" and "valid client certificate" in error["M"], error


# --- cancel ----------------------------------------------------------------------------------------------------


def is_running(server):
    return server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{SLEEP}'") == [["1"]]


def P7_a_cancel_request_may_come_over_tls(server):
    with proxy_with_tls(server, "require") as (proxy, tls):
        with SecureClient(proxy.port, context_for(tls)).log_in() as client:
            for direct in (False, True):
                client.send(query(SLEEP))
                wait_until(lambda: is_running(server), "the query to run")
                with SecureClient(proxy.port, context_for(tls, alpn="postgresql"), direct) as canceller:
                    canceller.send(cancel_request(client.process_id, client.secret))
                    assert canceller.is_closed()
                error = next(fields(body) for kind, body in client.read_until(b"Z") if kind == b"E")
                assert error["C"] == "57014", error
        with newest_libpq(proxy, tls) as client:
            client.cancel_safe()
            assert client.execute("SELECT 42").fetchone() == (42,)
