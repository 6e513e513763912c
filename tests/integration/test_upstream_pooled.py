"""What an upstream string says of pools: who logs in (P9), what the login is bound to (P10), and which of several servers is wanted."""

import contextlib
import os
import shutil
import tempfile
import threading

from postgres import PASSWORD, USER, Postgres
from proxy import Proxy, free_port, wait_until
from test_pool import error_of, pooled
from test_upstream_tls import SecureUpstream, certificates, postgres_with_tls
from wire import AUTHENTICATED, READY, cancel_request, fields, message, query, read_startup, startup

OWN_LOGIN = "This is about pgatomic's own login to the upstream. The client was let in."
NOWHERE = ", whom upstream names without password=, and the users file has no plain one"


def said(upstream, sql):
    """What a client of a pool gets."""
    with pooled(upstream) as proxy, proxy.log_in(user="anybody") as client:
        return client.value(sql)


def refusal(upstream):
    with pooled(upstream) as proxy, proxy.connect() as client:
        client.send(startup(user="anybody", database="postgres"))
        return client.fatal()


# --- who logs in --------------------------------------------------------------------------------------------


def P9_the_upstream_may_name_who_logs_in(server):
    there = f"host=127.0.0.1 port={server.port} user={USER}"
    assert said(f"{there} password={PASSWORD}", "SELECT session_user") == USER
    error = refusal(f"{there} password=wrong")
    assert error["C"] == "28P01" and error["D"] == OWN_LOGIN, error
    error = refusal(there)
    assert error["C"] == "28000" and error["M"].endswith(f'"{USER}"{NOWHERE}'), error
    with pooled(f"{there} password={PASSWORD}") as proxy:
        status, text = proxy.run("check", "-c", proxy.config)
        assert status == 0 and PASSWORD not in text and "password='***'" in text, text
        assert PASSWORD not in "".join(map(str, proxy.log_lines()))


def P9_the_users_file_has_the_password_of_whom_the_upstream_names(server):
    verifier = server.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")[0][0]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "users.conf")
        blocks = (f'auth {{ method = trust  users = "{path}" }}\n'
                  f'database "*" {{ upstream = "host=127.0.0.1 port={server.port} user={USER}"  pool = transaction }}\n')
        for secret in (PASSWORD, verifier):
            with open(path, "w") as file:
                file.write(f'user "{USER}" {{ password = "{secret}" }}\n')
            with Proxy(server, blocks, database=False) as proxy, proxy.connect() as client:
                client.send(startup(user="anybody", database="postgres"))
                if secret == PASSWORD:
                    client.read_until(b"Z")
                    assert client.value("SELECT session_user") == USER
                else:
                    assert client.fatal()["M"].endswith(NOWHERE), "a verifier is good for letting in, and not for coming in"


def P3_one_user_of_the_upstream_is_one_pool_whoever_its_clients_are(server):
    with pooled(f"host={server.directory} port={server.port} user=postgres", pool_size=1) as proxy:
        with proxy.log_in(user="anybody") as first, proxy.log_in(user="somebody") as second:
            backend = first.value("SELECT pg_backend_pid()")
            assert second.value("SELECT pg_backend_pid()") == backend
            first.ask("BEGIN")
            second.send(query("SELECT session_user"))
            assert first.value("SELECT pg_backend_pid()") == backend
            first.ask("COMMIT")
            assert second.read_until(b"Z")[1][1].endswith(b"postgres")


def P9_logins_to_the_upstream_are_bound_to_its_certificate(_):
    with postgres_with_tls() as (server, tls):
        there = f"host=localhost port={server.port} user={USER} password={PASSWORD}"
        secure = f"{there} sslmode=verify-full sslrootcert={tls.ca}"
        for binding in ("prefer", "disable", "require"):
            assert said(f"{secure} channel_binding={binding}", "SELECT session_user") == USER, binding
        error = refusal(f"{there} sslmode=disable channel_binding=require")
        assert error["C"] == "28000" and "channel binding is required" in error["M"], error


def P9_a_server_that_asks_for_nothing_does_not_do_where_channel_binding_is_required(_):
    with postgres_with_tls() as (server, tls):
        with open(os.path.join(server.data, "pg_hba.conf"), "w", encoding="ascii") as hba:
            hba.write("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        server.sql("SELECT pg_reload_conf()")
        there = f"host=localhost port={server.port} user={USER} sslmode=verify-full sslrootcert={tls.ca}"
        assert said(there, "SELECT session_user") == USER
        assert "channel binding is required" in refusal(f"{there} channel_binding=require")["M"]


def P10_a_pool_shows_a_certificate_of_its_own_to_the_upstream(_):
    with postgres_with_tls() as (server, tls):
        certificate, key = tls.issue("own", "/CN=pool")
        there = f"host=localhost port={server.port} user={USER} password={PASSWORD} sslmode=verify-full sslrootcert={tls.ca}"
        assert said(f"{there} sslcert={certificate} sslkey={key}", "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "/CN=pool"


def P10_files_of_a_pools_upstream_are_read_again_on_a_reload(_):
    def why(proxy):
        with proxy.connect() as client:
            client.send(startup(user="anybody", database="postgres"))
            kind, body = client.read()
            return fields(body)["M"] if kind == b"E" else None

    with postgres_with_tls() as (server, tls), certificates() as other:
        ca = os.path.join(other.directory, "trusted.pem")
        shutil.copy(other.ca, ca)
        upstream = f"host=localhost port={server.port} user={USER} password={PASSWORD} sslmode=verify-full sslrootcert={ca}"
        with pooled(upstream, connect_timeout="20s") as proxy:
            assert "certificate is not good" in why(proxy)
            shutil.copy(tls.ca, ca)
            proxy.reload(proxy.blocks)
            proxy.wait_for_log(msg="config reloaded")
            wait_until(lambda: why(proxy) is None, "the pool to be connected")


def P7_a_cancel_request_goes_to_a_pools_upstream_as_its_connection_did(_):
    secret, cancelled = bytes(range(32)), []
    heard = threading.Event()

    def behave(wire):
        packet = read_startup(wire)
        if packet[4:8] == cancel_request(0, b"")[4:8]:
            cancelled.append(packet)
            heard.set()
            return
        wire.send(AUTHENTICATED + message(b"S", b"client_encoding\0UTF8\0") + message(b"K", b"\0\0\0\7" + secret) + READY)
        while wire.read()[0] == b"Q":
            running.set()
            assert heard.wait(30)
            wire.send(message(b"E", b"SERROR\0VERROR\0C57014\0Mcanceled\0\0") + READY)

    running = threading.Event()
    with certificates() as tls, SecureUpstream(tls, behave) as upstream:
        with pooled(f"host=localhost port={upstream.port} sslmode=verify-full sslrootcert={tls.ca}") as proxy:
            with proxy.log_in() as client, proxy.connect() as canceller:
                client.send(query("SELECT 1"))
                assert running.wait(30)
                canceller.send(cancel_request(client.process_id, client.secret))
                assert canceller.is_closed()
                assert error_of(client.read_until(b"Z"))["C"] == "57014"
                assert cancelled == [cancel_request(7, secret)] and upstream.asked == 2


# --- which server ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standby_of(primary):
    with open(os.path.join(primary.data, "pg_hba.conf"), "a", encoding="ascii") as hba:
        hba.write("local replication all trust\n")
    primary.sql("SELECT pg_reload_conf()")
    standby = Postgres()
    standby._run([os.path.join(primary.bindir, "pg_basebackup"), "-h", primary.directory, "-p", str(primary.port), "-U", "postgres", "-D",
                  standby.data, "-R", "-c", "fast", "--no-sync"])
    with standby:
        yield standby


def P9_target_session_attrs_chooses_among_the_hosts(_):
    """Whatever stands first: libpq's rules."""
    with Postgres() as primary, standby_of(primary) as standby, Postgres() as reader:
        reader.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        reader.sql("SELECT pg_reload_conf()")
        ports = {"primary": primary.port, "standby": standby.port, "reader": reader.port}
        directory = {"primary": primary.directory, "standby": standby.directory, "reader": reader.directory}
        rows = [("any", "standby primary", "standby"),
                ("read-write", "standby reader primary", "primary"),
                ("read-only", "primary reader", "reader"),
                ("read-only", "primary standby", "standby"),
                ("primary", "standby reader primary", "reader"),
                ("standby", "primary reader standby", "standby"),
                ("prefer-standby", "primary standby", "standby"),
                ("prefer-standby", "primary reader", "primary"),
                ("standby", "primary reader", None),
                ("read-write", "standby", None)]
        for wanted, hosts, found in rows:
            names = hosts.split()
            upstream = (f"host={','.join(directory[name] for name in names)} port={','.join(str(ports[name]) for name in names)} "
                        f"target_session_attrs={wanted} user=postgres")
            if found:
                assert said(upstream, "SHOW port") == str(ports[found]), (wanted, hosts)
            else:
                error = refusal(upstream)
                assert error["C"] == "08006" and ("hot standby" in error["M"] or "read-only" in error["M"]), error


def P9_a_host_that_is_starting_up_is_passed_over(_):
    """57P03: what a standby says that does not take connections yet."""
    with Postgres() as primary, standby_of(primary) as standby:
        standby.stop()
        standby.settings["hot_standby"] = "off"
        standby._launch()
        directories = f"host={standby.directory},{primary.directory} port={standby.port},{primary.port} user=postgres"
        with pooled(directories) as proxy:
            with proxy.log_in(user="anybody") as client:
                assert client.value("SHOW port") == str(primary.port)


def P9_hosts_that_are_down_are_passed_over(server):
    upstream = f"host=127.0.0.1,{server.directory} port={free_port()},{server.port} user=postgres target_session_attrs=read-write"
    assert said(upstream, "SELECT 42") == "42"
