"""What an upstream string says of pools: who logs in (P9), what the login is bound to (P10), and which of several servers is wanted."""

import contextlib
import os

from postgres import PASSWORD, USER, Postgres
from proxy import free_port
from test_pool import pooled
from test_upstream_tls import postgres_with_tls
from wire import startup


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
    assert refusal(f"{there} password=wrong")["C"] == "28P01"
    assert refusal(there)["C"] == "28000"
    with pooled(f"{there} password={PASSWORD}") as proxy:
        status, text = proxy.run("check", "-c", proxy.config)
        assert status == 0 and PASSWORD not in text and "password='***'" in text, text
        assert PASSWORD not in "".join(map(str, proxy.log_lines()))


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
