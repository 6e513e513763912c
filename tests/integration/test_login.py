"""Logins to pools (P9): pgatomic authenticates the client and logs into the upstream itself, with what the client has shown."""

import base64
import hashlib
import hmac
import os
import subprocess
import tempfile

import psycopg

from certificates import Certificates
from postgres import Postgres
from proxy import Proxy, wait_until
from wire import AUTHENTICATED, READY, Upstream, fields, message, read_startup, startup

PASSWORD = "xyzzy-secret"
QUERY = "SELECT rolname, rolpassword, rolvaliduntil FROM pg_authid WHERE rolname = $1"
METHODS = {"scram": "scram-sha-256", "md5": "md5", "clear": "password"}  # of pg_hba.conf; users are named after them

OWN_LOGIN = "DETAIL:  This is about pgatomic's own login to the upstream. The client was let in."


class Roles:
    """Roles whose names begin with `login_`, and pg_hba.conf telling how the upstream authenticates each."""

    def __init__(self, server):
        self.server = server
        self.hba = os.path.join(server.data, "pg_hba.conf")
        with open(self.hba) as file:
            self.original = file.read()

    def __enter__(self):
        rules = "".join(f"host all login_{name} 127.0.0.1/32 {method}\n" for name, method in METHODS.items())
        self.write_rules(rules + self.original)
        for name in METHODS:
            self.add(f"login_{name}", encryption="md5" if name == "md5" else "scram-sha-256")
        return self

    def __exit__(self, *_):
        self.write_rules(self.original)
        for (name,) in self.server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'login\\_%'"):
            self.server.sql(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")

    def write_rules(self, text):
        with open(self.hba, "w") as file:
            file.write(text)
        self.server.sql("SELECT pg_reload_conf()")

    def add(self, name, options="", encryption="scram-sha-256"):
        self.server.sql(f"SET password_encryption = '{encryption}'; CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")
        return name

    def secret(self, name):
        """What the upstream keeps."""
        return self.server.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'")[0][0]


class LoginProxy(Proxy):
    """`users`: a users file, by name."""

    def __init__(self, server, auth, users=None, more="", control_user="postgres", pool="transaction", upstream=None, control=None,
                 **options):
        control = control or f"host={server.directory} port={server.port} user={control_user} dbname=postgres"
        control = f'control = "{control}"' if control_user else ""
        upstream = upstream or f"host=127.0.0.1 port={server.port} sslmode=disable"
        super().__init__(server, "", database=False, **options)
        self.users = users or {}
        self.blocks = f'auth {{ {auth} }}\ndatabase "postgres" {{ upstream = "{upstream}"  {control}  pool = {pool} }}\n{more}'

    def write_config(self, blocks):
        super().write_config(blocks)
        with open(os.path.join(self.directory, "users.conf"), "w") as file:
            for name, password in self.users.items():
                file.write(f'user "{name}" {{ password = "{password}" }}\n')

    def psycopg(self, user, password=PASSWORD, **options):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=user, password=password, dbname="postgres", autocommit=True,
                               connect_timeout=60, **options)

    def who(self, user, password=PASSWORD, **options):
        """Whom the upstream takes the client for."""
        with self.psycopg(user, password, **options) as client:
            return client.execute("SELECT session_user").fetchone()[0]

    def refusal(self, user, password=PASSWORD, **options):
        """The words with which a login fails, without those of libpq."""
        try:
            self.psycopg(user, password, **options).close()
        except psycopg.OperationalError as error:
            return str(error).rsplit("FATAL:  ", 1)[-1].strip()
        raise AssertionError(f"{user} came in")

    def why(self, **of):
        """What the log says of the last login that failed."""
        return self.wait_for_log(msg="login failed", **of)[-1]["detail"]

    def log_text(self):
        with open(self.log) as file:
            return file.read()


USERS = 'users = "users.conf"'


# --- each method, with each kind of secret ---------------------------------------------------------------


def P9_a_plain_secret_lets_in_and_logs_into_upstreams_of_every_kind(server):
    with Roles(server):
        users = {f"login_{name}": PASSWORD for name in METHODS}
        for method in ("scram-sha-256", "md5"):
            for pool in ("transaction", "session", "dedicated"):
                with LoginProxy(server, f"method = {method}  {USERS}", users, pool=pool) as proxy:
                    for user in users:
                        assert proxy.who(user) == user, (method, pool)
                        assert proxy.refusal(user, "wrong") == f'password authentication failed for user "{user}"'
                    assert PASSWORD not in proxy.log_text()


def P9_keys_taken_from_a_clients_login_log_into_the_upstream(server):
    with Roles(server) as roles:
        verifier = roles.secret("login_scram")
        for method, pool in (("scram-sha-256", "transaction"), ("scram-sha-256", "dedicated"), ("md5", "transaction")):
            with LoginProxy(server, f"method = {method}  {USERS}", {"login_scram": verifier}, pool=pool) as proxy:
                assert proxy.who("login_scram") == "login_scram"
                assert proxy.refusal("login_scram", "wrong") == 'password authentication failed for user "login_scram"'
                assert proxy.who("login_scram") == "login_scram"
                assert verifier not in proxy.log_text() and PASSWORD not in proxy.log_text()


def P9_an_md5_secret_logs_into_an_upstream_that_asks_for_md5(server):
    with Roles(server) as roles:
        secret = roles.secret("login_md5")
        with LoginProxy(server, f"method = md5  {USERS}", {"login_md5": secret}) as proxy:
            assert proxy.who("login_md5") == "login_md5"
            assert proxy.refusal("login_md5", "wrong") == 'password authentication failed for user "login_md5"'
            assert secret not in proxy.log_text()


def P9_an_md5_secret_is_of_no_use_for_scram(server):
    with Roles(server) as roles:
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"login_md5": roles.secret("login_md5")}) as proxy:
            assert proxy.refusal("login_md5") == 'password authentication failed for user "login_md5"'
            assert "md5" in proxy.why()


def P9_trust_uses_the_plain_secret_of_the_users_file_upstream(server):
    with Roles(server):
        with LoginProxy(server, f"method = trust  {USERS}", {"login_scram": PASSWORD}) as proxy:
            assert proxy.who("login_scram", password=None) == "login_scram"
            assert "nothing is known" in proxy.refusal("login_clear", password=None)


def P9_psql_logs_in_with_its_own_libpq(server):
    with Roles(server):
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"login_scram": PASSWORD}) as proxy:
            where = ["psql", "-X", "-At", f"host=127.0.0.1 port={proxy.port} user=login_scram dbname=postgres", "-c", "SELECT session_user"]
            for password, want in ((PASSWORD, "login_scram\n"), ("wrong", "")):
                done = subprocess.run(where, env={**os.environ, "PGPASSWORD": password}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      universal_newlines=True, timeout=30, check=False)
                assert done.stdout == want, done
                assert (done.returncode == 0) == bool(want), done


# --- a server of one's own -----------------------------------------------------------------------------------


def P9_a_client_with_a_server_of_its_own_is_authenticated_too(server):
    """The upstream over its unix socket would let in anybody: what pgatomic asks is all there is."""
    with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"postgres": PASSWORD}, pool="dedicated") as proxy:
        proxy.reload(proxy.blocks.replace("host=127.0.0.1 port", f"host={server.directory} port", 1))
        proxy.wait_for_log(msg="config reloaded")
        assert proxy.refusal("postgres", "wrong") == 'password authentication failed for user "postgres"'
        with proxy.psycopg("postgres") as client:
            backend = client.execute("SELECT pg_backend_pid()").fetchone()[0]
            assert client.info.backend_pid == backend, "its server's key is its own"


def P9_the_upstreams_refusal_reaches_a_client_that_was_admitted(server):
    with Roles(server) as roles:
        roles.add("login_closed", "CONNECTION LIMIT 0")
        users = {"login_closed": PASSWORD, "login_scram": "another"}
        for pool in ("dedicated", "transaction"):
            with LoginProxy(server, f"method = scram-sha-256  {USERS}", users, pool=pool) as proxy:
                assert proxy.refusal("login_closed") == 'too many connections for role "login_closed"'
                refused = proxy.refusal("login_scram", "another").splitlines()
                assert refused[0] == 'password authentication failed for user "login_scram"'
                assert refused[1:] == ([OWN_LOGIN] if pool == "transaction" else []), refused
                assert proxy.refusal("login_closed", "wrong") == 'password authentication failed for user "login_closed"'


def P1_a_newer_minor_version_is_negotiated_ahead_of_AuthenticationOk(server):
    for pool in ("dedicated", "transaction"):
        with LoginProxy(server, f"method = trust  {USERS}", {"login_scram": PASSWORD}, pool=pool) as proxy, Roles(server):
            with proxy.connect() as client:
                client.log_in(user="login_scram", version=3 << 16 | 9999, **{"_pq_.unheard_of": "1"})
                kinds = [kind for kind, _ in client.said]
                assert kinds.count(b"v") == 1 and kinds.count(b"R") == 1 and kinds.index(b"v") < kinds.index(b"R"), kinds
                assert client.value("SELECT 1") == "1"


def P9_an_upstream_that_breaks_off_SCRAM_is_not_believed(server):
    """Whoever says Ok without proof might be anybody, who then reads what the client has to say."""

    def lie(wire):
        read_startup(wire)
        wire.send(message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
        wire.read()
        wire.send(AUTHENTICATED + READY)

    for pool in ("dedicated", "transaction"):
        with Upstream(lie) as liar, LoginProxy(server, f"method = trust  {USERS}", {"app": PASSWORD}, pool=pool) as proxy:
            proxy.reload(proxy.blocks.replace(f"port={server.port}", f"port={liar.port}", 1))
            proxy.wait_for_log(msg="config reloaded")
            assert "without proof" in proxy.refusal("app", password=None)


def P9_an_upstream_that_begins_without_saying_Ok_is_not_believed(server):
    """Not after a question, and not instead of one."""

    def leave_out_ok(wire):
        read_startup(wire)
        wire.send(message(b"S", b"client_encoding\0UTF8\0") + message(b"K", b"\0\0\0\1\0\0\0\1") + READY)

    def break_off(wire):
        read_startup(wire)
        wire.send(message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
        wire.read()
        wire.send(READY)

    def ask_behind(wire):
        read_startup(wire)
        wire.send(AUTHENTICATED + message(b"R", b"\0\0\0\3") + READY)

    for pool in ("dedicated", "transaction"):
        for behave in (leave_out_ok, break_off, ask_behind):
            with Upstream(behave) as liar, LoginProxy(server, f"method = trust  {USERS}", {"app": PASSWORD}, pool=pool) as proxy:
                proxy.reload(proxy.blocks.replace(f"port={server.port}", f"port={liar.port}", 1))
                proxy.wait_for_log(msg="config reloaded")
                assert "the upstream" in proxy.refusal("app", password=None), (pool, behave)


def P9_an_answer_that_comes_in_one_packet_with_the_startup_packet_is_heard_at_once(server):
    first = message(b"p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc")
    for pool in ("transaction", "dedicated"):
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"app": PASSWORD}, pool=pool) as proxy, proxy.connect() as client:
            client.send(startup(user="app", database="postgres") + first)
            assert [client.read()[1][3] for _ in range(2)] == [10, 11], pool  # SASL, SASLContinue
            client.send(message(b"p", b"c=biws,r=none,p=none"))
            assert client.fatal()["C"] in ("28P01", "08P01"), pool


# --- unknown users --------------------------------------------------------------------------------------------


def conversation(proxy, user):
    """What is said to a login with md5 or SCRAM and a wrong proof, with the random parts left out."""
    with proxy.connect() as client:
        client.send(startup(user=user, database="postgres"))
        kind, body = client.read()
        said = [(kind, body[:4] if body[3] == 5 else body)]
        if body[3] == 5:
            client.send(message(b"p", b"md5" + b"0" * 32 + b"\0"))
        else:
            client.send(message(b"p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc"))
            kind, body = client.read()
            nonce, salt, count = body[4:].split(b",")
            said.append((kind, len(nonce), len(salt), count))
            client.send(message(b"p", b"c=biws," + nonce + b",p=" + b"A" * 43 + b"="))
        kind, body = client.read()
        return said + [(kind, {code: text.replace(user, "USER") for code, text in fields(body).items()})]


def P9_an_unknown_user_is_told_what_a_wrong_password_is_told(server):
    with Roles(server) as roles:
        cases = (f"method = scram-sha-256  {USERS}", f"method = md5  {USERS}", f'method = scram-sha-256  query = "{QUERY}"')
        for auth in cases:
            for secret in (PASSWORD, roles.secret("login_scram")):
                with LoginProxy(server, auth, {"login_scram": secret}) as proxy:
                    known, unknown = conversation(proxy, "login_scram"), conversation(proxy, "login_nobody")
                    assert known == unknown, (auth, known, unknown)
                    assert known[-1][1]["C"] == "28P01"
                    assert proxy.why(user="login_scram") == "the password does not match"
                    assert proxy.why(user="login_nobody") == "there is no such user"


def challenge(proxy, user):
    """The attributes of the server's first message."""
    with proxy.connect() as client:
        client.send(startup(user=user, database="postgres"))
        client.read()
        client.send(message(b"p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc"))
        return client.read()[1].split(b",")


def salt_of(proxy, user):
    return challenge(proxy, user)[1]


def P9_an_unknown_users_salt_does_not_change(server):
    with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"x": "y"}) as proxy:
        assert salt_of(proxy, "login_nobody") == salt_of(proxy, "login_nobody") != salt_of(proxy, "login_nobody2")


def verifier_of(password, iterations):
    salt = b"0123456789abcdef"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    text = [base64.b64encode(each).decode() for each in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${iterations}:{text[0]}${text[1]}:{text[2]}"


def iterations_of(proxy, user):
    return challenge(proxy, user)[2]


def P9_unknown_users_are_told_as_many_iterations_as_most_others(server):
    with Roles(server) as roles:
        users = {f"login_{number}": verifier_of(PASSWORD, number) for number in (4096, 9000)}
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", {**users, "login_more": users["login_9000"]}) as proxy:
            assert iterations_of(proxy, "login_9000") == iterations_of(proxy, "login_nobody") == b"i=9000"
        server.sql(f"CREATE ROLE login_slow LOGIN PASSWORD '{verifier_of(PASSWORD, 8000)}'")
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"') as proxy:
            assert proxy.who("login_slow") == "login_slow"
            assert iterations_of(proxy, "login_nobody") == b"i=8000"
        assert roles.secret("login_slow") == verifier_of(PASSWORD, 8000)


def P9_processes_with_the_same_certificate_tell_unknown_users_the_same(server):
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        one, other = Certificates(first), Certificates(second)

        def salt(certificates):
            tls = f'client_tls {{ certificate = "{certificates.certificate}"  key = "{certificates.key}" }}\n'
            with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"x": "y"}, more=tls) as proxy:
                return salt_of(proxy, "login_nobody")

        assert salt(one) == salt(one) != salt(other)


def P9_newer_postgresqls_are_logged_into_with_secrets_and_with_the_keys_of_the_clients_login(_):
    for version in ("16", "18"):
        with Postgres(version=version) as newer, Roles(newer) as roles:
            users = {"login_scram": roles.secret("login_scram"), "login_md5": PASSWORD, "login_clear": PASSWORD}
            for auth in (f"method = scram-sha-256  {USERS}", f'method = scram-sha-256  query = "{QUERY}"'):
                names = users if USERS in auth else ["login_scram"]
                with LoginProxy(newer, auth, users) as proxy:
                    for user in names:
                        assert proxy.who(user) == user, (version, auth)
                        assert proxy.refusal(user, "wrong") == f'password authentication failed for user "{user}"'
                    with proxy.psycopg("login_scram") as client:
                        assert client.execute("SHOW server_version").fetchone()[0].startswith(version)


# --- the query ------------------------------------------------------------------------------------------------


def P9_the_query_finds_the_secret_and_the_clients_keys_log_in(server):
    with Roles(server):
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"') as proxy:
            assert proxy.who("login_scram") == "login_scram"
            assert proxy.refusal("login_scram", "wrong") == 'password authentication failed for user "login_scram"'


def P9_the_users_file_goes_before_the_query(server):
    with Roles(server):
        with LoginProxy(server, f'method = scram-sha-256  {USERS}  query = "{QUERY}"', {"login_scram": "another"}) as proxy:
            assert proxy.refusal("login_scram") == 'password authentication failed for user "login_scram"'
            assert proxy.refusal("login_scram", "another").splitlines() == ['password authentication failed for user "login_scram"', OWN_LOGIN]


def P9_VALID_UNTIL_is_respected(server):
    with Roles(server) as roles:
        roles.add("login_old", "VALID UNTIL '2001-01-01'")
        roles.add("login_new", "VALID UNTIL '2101-01-01'")
        roles.add("login_ever", "VALID UNTIL 'infinity'")
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"') as proxy:
            assert proxy.refusal("login_old") == 'password authentication failed for user "login_old"'
            assert "expired" in proxy.why(user="login_old")
            assert proxy.who("login_new") == "login_new"
            assert proxy.who("login_ever") == "login_ever"


def P9_a_new_password_is_taken_soon(server):
    with Roles(server):
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"') as proxy:
            assert proxy.who("login_scram") == "login_scram"
            server.sql("ALTER ROLE login_scram PASSWORD 'new'")

            def comes_in():
                try:
                    return proxy.who("login_scram", "new") == "login_scram"
                except psycopg.OperationalError:
                    return False

            wait_until(comes_in, "the new password to be good")
            assert "authentication failed" in proxy.refusal("login_scram")


EVIL = """
CREATE SCHEMA evil;
CREATE TABLE evil.pg_authid (rolname name, rolpassword text, rolvaliduntil timestamptz);
INSERT INTO evil.pg_authid VALUES ('login_scram', 'guessed', NULL);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT SELECT ON evil.pg_authid TO PUBLIC;
CREATE ROLE login_lookup SUPERUSER LOGIN;
ALTER ROLE login_lookup SET search_path = evil, pg_catalog;
"""


def P9_no_search_path_steers_the_query(server):
    """Neither that of the role that asks, nor one that a client brings."""
    with Roles(server):
        server.sql(EVIL)
        try:
            with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"', control_user="login_lookup") as proxy:
                for options in ({}, {"options": "-c search_path=evil,pg_catalog"}):
                    assert "authentication failed" in proxy.refusal("login_scram", "guessed", **options)
                    assert proxy.who("login_scram") == "login_scram"
        finally:
            server.sql("DROP SCHEMA evil CASCADE")


def P9_a_name_is_a_parameter_and_never_part_of_the_query(server):
    with Roles(server):
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"') as proxy:
            for name in ("x' OR rolname = 'login_scram", "login_scram'--", "login_scram\\", "$1", "LOGIN_SCRAM", "login_scram "):
                assert proxy.refusal(name) == f'password authentication failed for user "{name}"'
            with proxy.connect() as client:
                client.send(startup(user="login_?", database="postgres").replace(b"?", b"\xff"))
                kind, _ = client.read()
                assert kind == b"R", "what is no UTF-8 is nobody, and is not asked for"
            assert not proxy.log_where(msg="auth query failed")


def P9_an_answer_for_another_user_is_nobodys(server):
    with Roles(server):
        query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = 'login_scram' AND $1 <> ''"
        with LoginProxy(server, f'method = scram-sha-256  query = "{query}"') as proxy:
            assert proxy.refusal("login_clear") == 'password authentication failed for user "login_clear"'
            assert "another user" in proxy.why()
            assert proxy.who("login_scram") == "login_scram"


def P9_a_query_that_fails_is_28000_and_its_words_are_for_the_log(server):
    wrong = {
        "SELECT $1::text, no_such_column FROM pg_authid": "42703",
        "SELECT $1::text": "28000",
        "SELECT $1::text, 1": "28000",
        "SELECT $1::text, 'x'::text FROM generate_series(1, 2)": "28000",
    }
    for query, sqlstate in wrong.items():
        with LoginProxy(server, f'method = scram-sha-256  query = "{query}"') as proxy, proxy.connect() as client:
            client.send(startup(user="login_nobody", database="postgres"))
            kind, body = client.read()
            assert kind == b"E" and fields(body)["C"] == "28000", fields(body)
            assert fields(body)["M"] == "the user's password could not be looked up"
            assert proxy.wait_for_log(msg="auth query failed")[0]["sqlstate"] == sqlstate


def P9_a_database_that_cannot_be_asked_is_08006(server):
    with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"', control_user="login_nobody") as proxy, proxy.connect() as client:
        client.send(startup(user="login_scram", database="postgres"))
        kind, body = client.read()
        assert kind == b"E" and fields(body)["C"] == "08006", fields(body)


# --- login blocks, TLS, reload ----------------------------------------------------------------------------------


def P9_the_first_login_block_that_fits_says_how(server):
    blocks = """
login "nobody" { user = "login_clear"  method = reject }
login "far"    { address = {"192.0.2.0/24"}  method = trust }
login "near"   { user = "login_md5"  address = {"127.0.0.0/8"}  method = trust }
login "other"  { user = "login_scram"  database = "elsewhere*"  method = reject }
login "here"   { user = "login_here"  database = "post*"  method = trust }
login "plain"  { user = "login_tls"  tls = off  method = reject }
login "secure" { user = "login_tls"  tls = on  method = trust }
"""
    with Roles(server) as roles, tempfile.TemporaryDirectory() as directory:
        tls = Certificates(directory)
        blocks += f'client_tls {{ mode = prefer  certificate = "{tls.certificate}"  key = "{tls.key}" }}\n'
        users = {f"login_{name}": PASSWORD for name in METHODS}
        for name in ("login_here", "login_tls"):
            roles.add(name)
            users[name] = PASSWORD
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", users, more=blocks) as proxy:
            assert proxy.refusal("login_clear") == 'connection rejected for user "login_clear"'
            assert proxy.who("login_md5", password=None) == "login_md5"
            assert proxy.who("login_here", password=None) == "login_here"
            assert proxy.refusal("login_tls", sslmode="disable") == 'connection rejected for user "login_tls"'
            assert proxy.who("login_tls", password=None, sslmode="require") == "login_tls"
            assert "authentication failed" in proxy.refusal("login_scram", "wrong")
            assert proxy.who("login_scram") == "login_scram"


def P9_a_login_that_shows_nothing_leaves_the_pool_what_others_have_shown(server):
    blocks = 'login "local" { address = {"unix"}  method = trust }'
    with Roles(server) as roles:
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"login_scram": roles.secret("login_scram")}, more=blocks) as proxy:
            proxy.listen.append(f"unix:{proxy.directory}")
            proxy.stop()
            proxy.start()
            with proxy.psycopg("login_scram") as other, other.transaction():
                other.execute("SELECT 1")  # and keeps its server, so that the next client needs another
                with psycopg.connect(host=proxy.directory, port=6432, user="login_scram", dbname="postgres", autocommit=True) as client:
                    assert client.execute("SELECT session_user").fetchone()[0] == "login_scram"


def P9_a_reload_brings_new_users(server):
    with Roles(server):
        with LoginProxy(server, f"method = scram-sha-256  {USERS}", {"x": "y"}) as proxy:
            assert "authentication failed" in proxy.refusal("login_scram")
            proxy.users = {"login_scram": PASSWORD}
            proxy.reload(proxy.blocks)
            proxy.wait_for_log(msg="config reloaded")
            assert proxy.who("login_scram") == "login_scram"
            proxy.users = {"login_scram": ""}
            proxy.reload(proxy.blocks)
            proxy.wait_for_log(level="error")
            assert proxy.who("login_scram") == "login_scram", "a users file that does not check is refused whole"


class TlsProxy(LoginProxy):
    def __init__(self, server, auth, users, mode="prefer", more="", **options):
        super().__init__(server, auth, users, **options)
        self.certificates = Certificates(self.directory)
        c = self.certificates
        self.blocks += f'client_tls {{ mode = {mode}  certificate = "{c.certificate}"  key = "{c.key}"  ca = "{c.ca}" }}\n{more}'


def P9_PLUS_binds_the_login_to_the_connection(server):
    with Roles(server) as roles:
        for secret in (PASSWORD, roles.secret("login_scram")):
            with TlsProxy(server, f"method = scram-sha-256  {USERS}", {"login_scram": secret}) as proxy:
                assert proxy.who("login_scram", sslmode="require", channel_binding="require") == "login_scram"
                assert proxy.who("login_scram", sslmode="require", channel_binding="disable") == "login_scram"
                assert proxy.who("login_scram", sslmode="disable") == "login_scram"
                assert "authentication failed" in proxy.refusal("login_scram", "wrong", sslmode="require", channel_binding="require")


def P9_a_certificate_lets_in_whom_it_names(server):
    with Roles(server):
        with TlsProxy(server, f"method = cert  {USERS}", {"login_scram": PASSWORD, "login_clear": PASSWORD}, "verify-ca") as proxy:
            certificate, key = proxy.certificates.issue("client", "/CN=login_scram")
            os.chmod(key, 0o600)
            shown = {"sslmode": "require", "sslcert": certificate, "sslkey": key, "password": None}
            assert proxy.who("login_scram", **shown) == "login_scram"
            assert proxy.refusal("login_clear", **shown) == 'certificate authentication failed for user "login_clear"'


# --- many at once -----------------------------------------------------------------------------------------------


def P9_many_logins_at_once_ask_and_are_answered_each_for_himself(server):
    with Roles(server):
        with LoginProxy(server, f'method = scram-sha-256  query = "{QUERY}"', workers=2) as proxy:
            clients = [proxy.connect() for _ in range(60)]
            try:
                for i, client in enumerate(clients):
                    client.send(startup(user=f"login_{'scram' if i % 2 else 'nobody'}", database="postgres"))
                for client in clients[::3]:
                    client.close()
                assert proxy.who("login_scram") == "login_scram"
                for i, client in enumerate(clients):
                    if i % 3:
                        assert client.read()[0] == b"R"
            finally:
                for client in clients:
                    client.close()
            assert proxy.who("login_scram") == "login_scram"
