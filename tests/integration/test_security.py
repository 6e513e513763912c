"""Where poolers have had their CVEs: length arithmetic, the boundary of TLS, confusion at startup, the context of the auth query, and who may
give orders. Each with what a stranger would try, in every kind of pool."""

import contextlib
import signal
import socket
import ssl
import struct

import psycopg

from proxy import Proxy, wait_until
from test_admin import Console
from test_login import PASSWORD, QUERY, USERS, LoginProxy, Roles
from test_tls import SecureClient, context_for, proxy_with_tls
from wire import (AUTHENTICATED, GSSENC_REQUEST, READY, SSL_REQUEST, SYNC, Closed, Upstream, Wire, cancel_request, fields, message, query,
                  read_startup, startup)

POOLS = ("dedicated", "session", "transaction")
GREATEST = 0x7FFFFFFF


def pooled(server, pool, **options):
    """A proxy with one server for everybody, to whom it is trusting."""
    blocks = f'auth {{ method = trust }}\ndatabase "postgres" {{ upstream = "host={server.directory} port={server.port}"  pool = {pool} }}\n'
    return Proxy(server, blocks, database=False, **options)


def answers(proxy):
    """What was done to one connection has had no effect on the next."""
    with proxy.log_in() as client:
        return client.value("SELECT 42") == "42"


def said(client):
    """All messages up to the end of the connection, which has to come; what is cut off counts as nothing."""
    messages = []
    with contextlib.suppress(Closed, ConnectionError):
        while True:
            messages.append(client.read())
    assert messages, "not a word"
    return messages


# --- length arithmetic -----------------------------------------------------------------------------------------


def P2_length_arithmetic_a_length_that_cannot_be_ends_the_connection_before_anything_is_kept(server):
    lengths = (0, 1, 2, 3, -1, -GREATEST - 1, -4, GREATEST, 1 << 30 | 5)
    for pool in POOLS:
        with pooled(server, pool) as proxy:
            before = proxy.memory_kb()
            for kind in b"QPBEDCHSFdcf":
                for length in lengths:
                    with proxy.log_in() as client:
                        client.send(struct.pack("!ci", bytes([kind]), length) + b"x" * 2000)
                        assert client.fatal()["C"] == "08P01", (pool, chr(kind), length)
            assert answers(proxy)
            assert proxy.memory_kb() < before + 50000


def P2_length_arithmetic_what_a_body_says_of_itself_is_held_against_its_size(server):
    name = b"\0"
    bodies = {
        "a Query without its NUL": message(b"Q", b"SELECT 1"),
        "an empty Query": message(b"Q"),
        "a Parse without NULs": message(b"P", b"sSELECT"),
        "a Parse of 65535 types": message(b"P", name + b"SELECT 1\0" + b"\xff\xff"),
        "a Bind of 65535 formats": message(b"B", name + name + b"\xff\xff"),
        "a Bind of 65535 values": message(b"B", name + name + b"\0\0\xff\xff"),
        "a value of the greatest size": message(b"B", name + name + b"\0\0\0\1" + struct.pack("!i", GREATEST) + b"x"),
        "a value of size -2": message(b"B", name + name + b"\0\0\0\1" + struct.pack("!i", -2) + b"x" * 8),
        "an Execute without a limit": message(b"E", name),
        "a Describe of nothing": message(b"D"),
        "a Close without its NUL": message(b"C", b"Sname"),
    }
    for pool in POOLS:
        with pooled(server, pool) as proxy:
            for what, bad in bodies.items():
                with proxy.log_in() as client:
                    client.send(message(b"P", b"\0SELECT 1\0\0\0") + bad + SYNC)
                    errors = [fields(body) for kind, body in iter_until_error(client) if kind == b"E"]
                    assert errors and errors[0]["C"] in ("08P01", "22P03", "22021"), (pool, what, errors)
                assert answers(proxy), (pool, what)


def iter_until_error(client):
    while True:
        try:
            kind, body = client.read()
        except Closed:
            return
        yield kind, body
        if kind == b"E":
            return


def P2_length_arithmetic_answers_of_a_login_are_bounded_by_their_messages(server):
    mechanism = b"SCRAM-SHA-256\0"
    answers_to = {
        "a response of the greatest size": message(b"p", mechanism + struct.pack("!i", GREATEST) + b"n,,n=,r=abc"),
        "a response of size -2": message(b"p", mechanism + struct.pack("!i", -2) + b"n,,n=,r=abc"),
        "a mechanism without its NUL": message(b"p", b"SCRAM-SHA-256"),
        "a nonce of nothing": message(b"p", mechanism + struct.pack("!i", 8) + b"n,,n=,r="),
        "an empty message": message(b"p"),
    }
    with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"app": "x"}) as proxy:
        before = proxy.memory_kb()
        for what, answer in answers_to.items():
            with proxy.connect() as client:
                client.send(startup(user="app", database="postgres"))
                assert client.read()[0] == b"R"
                client.send(answer)
                assert client.fatal()["C"] in ("08P01", "28P01"), what
        for length in (0, 3, -1, 70000, GREATEST):
            with proxy.connect() as client:
                client.send(startup(user="app", database="postgres"))
                assert client.read()[0] == b"R"
                client.send(struct.pack("!ci", b"p", length) + b"x" * 3000)
                assert client.fatal()["C"] == "08P01", length
        assert proxy.memory_kb() < before + 20000


def P2_length_arithmetic_an_upstream_is_believed_no_more_than_a_client(_):
    lies = [struct.pack("!ci", kind, length) + b"x" * 100 for kind in (b"R", b"S", b"E", b"K", b"Z", b"T", b"C")
            for length in (0, 3, -1, -GREATEST - 1, GREATEST)]
    lies += [message(b"R"), message(b"R", b"\0\0\0\x0a"), message(b"R", b"\0\0\0\x05"), message(b"K"), message(b"K", b"\0\0\0\1" + b"x" * 257),
             message(b"S", b"name"), message(b"v", b"\0\3"), message(b"Z"), message(b"E", b"Sno end")]
    current = []
    with Upstream(lambda wire: (read_startup(wire), wire.send(current[0]))) as upstream:
        for pool in POOLS:
            block = f'database "*" {{ upstream = "host=127.0.0.1 port={upstream.port} sslmode=disable"  pool = {pool} }}\n'
            with Proxy(upstream.port, "auth { method = trust }\n" + block, database=False) as proxy:
                before = proxy.memory_kb()
                for lie in lies:
                    current[:] = [lie]
                    with proxy.connect() as client:
                        client.send(startup(user="postgres", database="postgres"))
                        messages = said(client)
                        assert messages[-1][0] == b"E" and b"Z" not in [kind for kind, _ in messages], (pool, lie, messages)
                assert proxy.memory_kb() < before + 20000


# --- the boundary of TLS ---------------------------------------------------------------------------------------


def P10_tls_boundary_plaintext_behind_a_handshakes_first_bytes_is_no_part_of_the_session(server):
    """Put there by somebody in between, in the packet that brings the ClientHello: with an SSLRequest, and without one."""
    with proxy_with_tls(server) as (proxy, tls):
        for direct in (True, False):
            with proxy.connect() as client:
                if not direct:
                    client.send(SSL_REQUEST)
                    assert client.take(1) == b"S"
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                hello = context_for(tls, alpn="postgresql").wrap_bio(incoming, outgoing, server_hostname="localhost")
                with contextlib.suppress(ssl.SSLWantReadError):
                    hello.do_handshake()
                client.send(outgoing.read() + startup(user="postgres", database="postgres"))
                with contextlib.suppress(ConnectionError):
                    while client.socket.recv(4096):
                        pass
        proxy.wait_for_log(2, msg="connection closed: no TLS handshake")
        assert not proxy.log_where(detail="login")


def P10_tls_boundary_encryption_is_asked_for_once_and_ahead_of_all_else(server):
    with proxy_with_tls(server) as (proxy, tls):
        orders = {
            "SSLRequest twice in one packet": (SSL_REQUEST + SSL_REQUEST, b""),
            "SSLRequest with a GSSENCRequest behind it": (SSL_REQUEST + GSSENC_REQUEST, b""),
            "GSSENCRequest twice": (GSSENC_REQUEST, GSSENC_REQUEST),
        }
        for what, (first, second) in orders.items():
            with proxy.connect() as client:
                client.send(first)
                if second:
                    assert client.take(1) == b"N", what
                    client.send(second)
                assert client.fatal()["C"] == "08P01", what
        for request in (SSL_REQUEST, GSSENC_REQUEST, startup(user="postgres", database="postgres")):
            with SecureClient(proxy.port, context_for(tls, alpn="postgresql"), True) as client:
                client.send(startup(user="postgres", database="postgres"))
                client.read_until(b"Z")
                client.send(request)
                assert client.fatal()["C"] == "08P01", request


def P10_tls_boundary_a_pool_does_not_hear_what_its_upstream_said_ahead_of_tls(_):
    stuffed = AUTHENTICATED + message(b"K", b"\0\0\0\1\0\0\0\2") + READY
    for mode in ("prefer", "require"):
        for pool in ("session", "transaction"):
            with Upstream(lambda wire: (wire.take(8), wire.send(b"S" + stuffed), wire.take(1))) as upstream:
                block = f'database "*" {{ upstream = "host=127.0.0.1 port={upstream.port} sslmode={mode}"  pool = {pool} }}\n'
                with Proxy(upstream.port, "auth { method = trust }\n" + block, database=False) as proxy, proxy.connect() as client:
                    client.send(startup(user="postgres", database="postgres"))
                    error = client.fatal()
                    assert error["C"] == "08006" and "more than its answer" in error["M"], (mode, pool, error)


# --- confusion at startup --------------------------------------------------------------------------------------


def P1_startup_state_confusion_nothing_but_the_answer_to_the_question_gets_anywhere(server):
    first = message(b"p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc")
    steps = {
        "a Query": [query("SELECT 1")],
        "a Query behind the first answer": [first, query("SELECT 1")],
        "a Parse": [message(b"P", b"\0SELECT 1\0\0\0")],
        "a Sync": [SYNC],
        "a FunctionCall": [message(b"F", bytes(12))],
        "CopyData": [message(b"d", b"x")],
        "a second StartupMessage": [startup(user="postgres", database="postgres")],
        "a StartupMessage between the answers": [first, startup(user="postgres", database="postgres")],
        "an SSLRequest": [SSL_REQUEST],
        "a cancel request": [cancel_request(1, b"abcd")],
        "the last answer first": [message(b"p", b"c=biws,r=abc,p=" + b"A" * 43 + b"=")],
        "the first answer twice": [first, first],
        "a plain password": [message(b"p", PASSWORD.encode() + b"\0")],
        "an md5 password": [message(b"p", b"md5" + b"0" * 32 + b"\0")],
        "another mechanism": [message(b"p", b"PLAIN\0\0\0\0\x03\0a\0b")],
        "-PLUS without TLS": [message(b"p", b"SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc")],
        "an empty proof": [first, message(b"p", b"c=biws,r=abc,p=")],
    }
    with Roles(server):
        for pool in POOLS:
            with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"login_scram": PASSWORD}, pool=pool) as proxy:
                for what, packets in steps.items():
                    with proxy.connect() as client:
                        client.send(startup(user="login_scram", database="postgres") + b"".join(packets))
                        try:
                            kinds = said(client)
                        except TimeoutError:
                            raise AssertionError((pool, what)) from None
                        assert all(kind in (b"R", b"E") for kind, _ in kinds) and kinds[-1][0] == b"E", (pool, what, kinds)
                        assert AUTHENTICATED[5:] not in [body for kind, body in kinds if kind == b"R"], (pool, what)
                        assert fields(kinds[-1][1])["C"] in ("08P01", "28P01", "28000"), (pool, what, kinds)
                assert proxy.who("login_scram") == "login_scram"


def P1_startup_state_confusion_names_are_whole_and_mean_what_they_mean_to_postgresql(server):
    with pooled(server, "transaction") as proxy:
        for parameters, sqlstate in (({"user": ""}, "28000"), ({"database": "postgres"}, "28000"),
                                     ({"user": "postgres", "database": "nothing-like-it"}, "3D000"),
                                     ({"user": "postgres", "database": "replication"}, "3D000"),
                                     ({"user": "x" * 5000, "database": "postgres"}, "28000")):
            with proxy.connect() as client:
                client.send(startup(**parameters))
                assert client.fatal()["C"] == sqlstate, parameters
        with proxy.connect() as client:
            client.send(startup(user="postgres", database="postgres", replication="true"))
            kinds = said(client)
            assert kinds[-1][0] == b"E" and b"Z" not in [kind for kind, _ in kinds], "a walsender is nobody's who comes next"
        assert answers(proxy)


def P1_startup_state_confusion_a_cancel_request_over_tls_is_no_login(server):
    with proxy_with_tls(server) as (proxy, tls):
        with SecureClient(proxy.port, context_for(tls, alpn="postgresql"), True) as client:
            client.send(cancel_request(1, b"abcd") + startup(user="postgres", database="postgres") + query("SELECT 1"))
            assert client.is_closed()
        proxy.wait_for_log(msg="cancel request with an unknown key")
        assert not proxy.log_where(detail="login")


# --- the context of the auth query -------------------------------------------------------------------------------

SHADOWS = """
CREATE SCHEMA evil;
CREATE TABLE evil.pg_shadow (usename name, passwd text, valuntil timestamptz);
INSERT INTO evil.pg_shadow VALUES ('login_scram', 'guessed', NULL);
CREATE TABLE evil.pg_authid (rolname name, rolpassword text, rolvaliduntil timestamptz);
INSERT INTO evil.pg_authid VALUES ('login_scram', 'guessed', NULL);
CREATE FUNCTION evil.same(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = name, RIGHTARG = text);
CREATE FUNCTION evil.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = name, RIGHTARG = name);
CREATE FUNCTION evil.coalesced(text) RETURNS text LANGUAGE sql AS $$ SELECT 'guessed' $$;
CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'login_clear' $$;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
CREATE ROLE login_lookup SUPERUSER LOGIN;
ALTER ROLE login_lookup SET search_path = evil, pg_catalog;
"""


def P9_auth_query_context_nobodys_tables_functions_and_operators_stand_in_for_postgresqls(server):
    queries = ("SELECT usename, passwd, valuntil FROM pg_shadow WHERE usename = $1", QUERY,
               "SELECT rolname, rolpassword, rolvaliduntil FROM pg_authid WHERE rolname = lower($1)")
    with Roles(server):
        server.sql(SHADOWS)
        try:
            for text in queries:
                for pool in POOLS:
                    with LoginProxy(server, f'method = scram-sha-256  query = "{text}"', control_user="login_lookup", pool=pool) as proxy:
                        for options in ({}, {"options": "-c search_path=evil,pg_catalog"}):
                            assert "authentication failed" in proxy.refusal("login_scram", "guessed", **options), (text, pool)
                            assert "authentication failed" in proxy.refusal("login_nobody", "guessed", **options), (text, pool)
                            assert proxy.who("login_scram") == "login_scram", (text, pool)
        finally:
            server.sql("DROP SCHEMA evil CASCADE")


def P9_auth_query_context_a_query_that_waits_for_a_lock_leaves_nobody_waiting(server):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    server.sql("CREATE TABLE secrets (name text, secret text)")
    try:
        with LoginProxy(server, 'method = scram-sha-256  query = "SELECT name, secret FROM public.secrets WHERE name = $1"') as proxy:
            with psycopg.connect(host=server.directory, port=server.port, user="postgres", dbname="postgres") as holder:
                holder.execute("LOCK TABLE secrets")
                assert "could not be looked up" in proxy.refusal("login_scram")
                proxy.wait_for_log(msg="auth query failed", sqlstate="57014")
                wait_until(lambda: server.sql(waiting) == [["0"]], "the lock to be waited for by nobody")
    finally:
        server.sql("DROP TABLE secrets")


def P9_auth_query_context_runs_as_the_control_user_and_brings_nothing_of_the_clients(server):
    """Its own settings neither reach the connection on which is asked, nor does the name leave its place as a parameter."""
    spy = "SELECT $1::text, rolpassword FROM pg_authid WHERE rolname = $1 AND current_user = 'postgres' AND current_setting('role') = 'none' " \
        "AND current_setting('application_name') <> 'mine' AND current_setting('search_path') = 'pg_catalog'"
    with Roles(server):
        with LoginProxy(server, f'method = scram-sha-256  query = "{spy}"') as proxy:
            options = {"application_name": "mine", "options": "-c role=login_clear -c search_path=evil"}
            with contextlib.suppress(psycopg.OperationalError):  # login_scram may not become somebody else
                proxy.psycopg("login_scram", **options).close()
            assert proxy.who("login_scram", application_name="mine") == "login_scram"
            for name in ("login_scram' OR '1'='1", "'; DROP ROLE login_clear; --", "login_scram\\", "$1", "login_scram\n"):
                assert "authentication failed" in proxy.refusal(name), name
            assert not proxy.log_where(msg="auth query failed")
        assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'login_clear'") == [["1"]]


# --- addresses ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def held_up(process):
    """It does nothing meanwhile; what comes for it waits in the kernel."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def say_and_reset(port, packets):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(packets)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def P9_a_connection_that_was_reset_is_judged_by_the_address_that_it_had(server):
    """Its socket has no address any more when what it said is read."""
    reject = 'login "near" { address = {"127.0.0.0/8"}  method = reject }\nlogin "local" { address = unix  method = trust }\n'
    server.sql("CREATE TABLE intruders (pool text)")
    try:
        for pool in POOLS:
            blocks = (f'admin_users = {{"postgres"}}\nauth {{ method = trust }}\n{reject}database "postgres" '
                      f'{{ upstream = "host={server.directory} port={server.port}"  pool = {pool} }}\n')
            with Proxy(server, blocks, database=False) as proxy:
                with held_up(proxy.process):
                    for _ in range(10):
                        say_and_reset(proxy.port, startup(user="postgres", database="postgres") + query(f"INSERT INTO intruders VALUES ('{pool}')"))
                        say_and_reset(proxy.port, startup(user="postgres", database="pgatomic") + query("SHUTDOWN"))
                proxy.wait_for_log(20, msg="login failed")
                assert proxy.is_alive()
        assert server.sql("SELECT * FROM intruders") == []
    finally:
        server.sql("DROP TABLE intruders")


def P9_a_stranger_whom_an_address_rejects_makes_no_work_for_the_query(server):
    blocks = 'login "near" { address = {"127.0.0.0/8"}  method = reject }'
    with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"', more=blocks, control_user="nobody_at_all") as proxy:
        assert proxy.refusal("postgres") == 'connection rejected for user "postgres"'
        assert not proxy.log_where(msg="auth query failed")


# --- who may give orders -----------------------------------------------------------------------------------------


def shell_admin_authorization_orders_are_for_admin_users_who_have_shown_who_they_are(server):
    users = {"postgres": "opensesame", "other": "opensesame"}
    logins = 'admin_users = {"postgres"}\nlogin "near" { address = {"127.0.0.2/32"}  method = trust }\n'
    with LoginProxy(server, f"method = scram-sha-256  {USERS}", users, logins) as proxy:
        def console(user, password, source="127.0.0.1"):
            with socket.socket() as s:  # libpq cannot choose where it comes from
                s.bind((source, 0))
                s.connect(("127.0.0.1", proxy.port))
                wire = Wire(s)
                wire.send(startup(user=user, database="pgatomic"))
                return wire.read()[1] == AUTHENTICATED[5:] if password is None else None

        def refusal(user, password):
            try:
                psycopg.connect(host="127.0.0.1", port=proxy.port, user=user, password=password, dbname="pgatomic").close()
            except psycopg.OperationalError as error:
                return str(error)
            return ""

        assert refusal("postgres", "opensesame") == ""
        assert "password authentication failed" in refusal("postgres", "wrong")
        assert "only admin_users" in refusal("other", "opensesame")
        assert "password authentication failed" in refusal("stranger", "opensesame"), "and is not told whether there is such an admin"
        assert console("postgres", None, "127.0.0.2"), "trusted, from where the config says so"
        assert not console("postgres", None, "127.0.0.1")
        assert not console("other", None, "127.0.0.2"), "trust makes nobody an admin"


def shell_admin_authorization_orders_of_a_client_are_plain_sql_to_its_upstream(server):
    """Whoever is logged into a database, an admin too, orders nothing there."""
    orders = ("KILL 1", "SHUTDOWN", "PAUSE", "RELOAD", "RECONNECT", "SHOW CLIENTS", "SET route.checkout.mode = 'autocommit'")
    with Console(server) as proxy, proxy.log_in() as victim, proxy.log_in() as client:
        for order in orders:
            kinds = [kind for kind, _ in client.ask(order)]
            assert b"E" in kinds or order.startswith("SET"), (order, kinds)
        assert victim.value("SELECT 1") == "1" and proxy.is_alive()
        assert not proxy.log_where(msg="admin command")
        assert [row["mode"] for row in proxy.ask("SHOW ROUTES")] == ["atomic", "atomic"]
