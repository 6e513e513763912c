"""No secret leaves pgatomic but to whom it is for: not in the log at its most talkative, not in what is shown to people or machines, not in an
error, whether logins and deliveries succeed or fail."""

import os
import signal
import subprocess
import urllib.error
import urllib.request

import psycopg

from proxy import free_port, wait_until
from redis_server import Redis
from test_admin import Console
from test_login import PASSWORD, QUERY, Roles
from wire import fields, message, startup

BLOCKS = """
admin_users = {{"postgres"}}
auth {{ method = scram-sha-256  users = "users.conf"  query = "{query}" }}
login "md5"   {{ user = "login_md5"  method = md5 }}
login "trust" {{ user = "trusted"  method = trust }}
database "postgres" {{ upstream = "host=127.0.0.1 port={port} sslmode=disable"  pool = transaction
                      control = "host=127.0.0.1 port={port} dbname=postgres user=login_clear password={clear} sslpassword=key-of-control" }}
database "fixed"    {{ upstream = "host=127.0.0.1 port={port} dbname=postgres sslmode=disable user=login_clear password={clear}"  pool = session }}
database "refused"  {{ upstream = "host=127.0.0.1 port={port} dbname=postgres sslmode=disable user=login_scram password=upstream-lie"  pool = session }}
database "own"      {{ upstream = "host=127.0.0.1 port={port} dbname=postgres sslmode=disable" }}
route "all" {{ match = "/*"  mode = atomic }}
channel "*" {{ sink = {{"hook", "hook2", "store", "celery", "queue", "stream", "listeners"}}  forward = off }}
sink "hook"      {{ type = webhook   url = "http://me:hook-password@127.0.0.1:{nobody}/in?token=hook-token"  secret = "whsec_aG9vay1zaWduaW5nLXNlY3JldC0x"  {few} }}
sink "hook2"     {{ type = webhook   url = "http://127.0.0.1:{nobody}/"  secret = "${{HOOK_SECRET}}"  {few} }}
sink "store"     {{ type = redis     url = "redis://:redis-lie@127.0.0.1:{redis}/0"  key = "k"  {few} }}
sink "celery"    {{ type = celery    url = "redis://app:celery-lie@127.0.0.1:{redis}/1"  {few} }}
sink "queue"     {{ type = amqp      url = "amqp://app:amqp-password@127.0.0.1:{nobody}/"  {few} }}
sink "stream"    {{ type = kafka     url = "kafkas://app:kafka-password@127.0.0.1:{nobody}?mechanism=SCRAM-SHA-512"  topic = "t"  {few} }}
sink "listeners" {{ type = postgres  upstream = "host=127.0.0.1 port={port} dbname=postgres user=login_scram password=sink-lie"  {few} }}
"""

SECRETS = ("upstream-lie", "key-of-control", "hook-password", "hook-token", "aG9vay1zaWduaW5nLXNlY3JldC0x", "c2VjcmV0LW9mLWVudmlyb25tZW50", "redis-lie", "celery-lie",
           "amqp-password", "kafka-password", "sink-lie", "wrong-guess", "password-in-the-clear", "only-in-the-file", PASSWORD)


def attempt(**options):
    """One login, however it ends; what it was told."""
    try:
        with psycopg.connect(host="127.0.0.1", autocommit=True, connect_timeout=60, **options) as connection:
            connection.execute("SELECT 1")
            return ""
    except psycopg.Error as error:
        return str(error)


def log_in_by_hand(proxy):
    """A password where it does not belong, and one that is no answer at all."""
    told = []
    for answer in (message(b"p", b"password-in-the-clear\0"), message(b"p", b"SCRAM-SHA-256\0\0\0\0\x15password-in-the-clear"),
                   message(b"Q", b"ALTER ROLE x PASSWORD 'password-in-the-clear'\0")):
        with proxy.connect() as client:
            client.send(startup(user="login_scram", database="postgres"))
            client.read()
            client.send(answer)
            told.append(str(fields(client.read_to_end()[-1][1])))
    return told


def all_logins(proxy):
    """Those that go well, those that do not; what clients were told."""
    told = log_in_by_hand(proxy)
    for database in ("postgres", "fixed", "refused", "own", "nothing"):
        for user in ("login_scram", "login_md5", "login_clear", "nobody", "trusted", "verified"):
            for password in (PASSWORD, "wrong-guess"):
                told.append(attempt(port=proxy.port, user=user, password=password, dbname=database))
    assert told.count("") >= 5 and any("authentication failed" in words for words in told), told
    return told


def all_that_is_shown(proxy):
    """The console's tables, the config as it is printed, everything over HTTP."""
    shown = [proxy.run("check", "-c", proxy.config)[1]]
    with psycopg.connect(proxy.conninfo(), user="postgres", password="only-in-the-file", autocommit=True) as connection:
        for (command, *_) in connection.execute("SHOW HELP").fetchall():
            if command.startswith("SHOW ") and " " not in command[5:]:
                shown.append(str(connection.execute(command).fetchall()))
    assert "***" in shown[0] and "${HOOK_SECRET}" in shown[0] and any("hook2" in text for text in shown[1:]), shown
    for path in ("/", "/metrics", "/events", "/state.json", "/healthz", "/readyz"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{proxy.http_port}{path}", timeout=30) as answer:
                shown.append(answer.read().decode())
        except urllib.error.HTTPError as error:
            shown.append(error.read().decode())
    return shown


def bad_files(proxy):
    """What is said of files that are wrong at the very place of a secret."""
    said = []
    for block in ('database "x" { upstream = "host=h password=only-in-the-file pasword=only-in-the-file" }',
                  'database "x" { upstream = "host=h password=ab"only-in-the-file"" }',
                  'database "x" { upstream = "host=h password=ab"only-in-the-file" dbname="x"" }',
                  'database "x" { upstream = "host=h password=${VAR-only-in-the-file}" }',
                  'database "x" { upstream = "host=h sslpassword=only-in-the-file" }',
                  'database "x" { upstream = "host=h password=\'only-in-the-file" }',
                  'database "x" { upstream = "host=h"  control = "password=only-in-the-file nonsense" }',
                  'sink "x" { type = webhook  url = "http://me:only-in-the-file@"  secret = "only-in-the-file" }',
                  'sink "x" { type = redis  url = "redis://:only-in-the-file@host:port/0" }',
                  'sink "x" { type = amqp  url = "amqp://me:only-in-the-file@[host/" }',
                  'sink "x" { type = kafka  url = "kafka://me:only-in-the-file@host?mechanism=NONE"  topic = "t" }'):
        path = os.path.join(proxy.directory, "bad.conf")
        with open(path, "w") as file:
            file.write(block + "\n")
        status, words = proxy.run("check", "-c", path)
        assert status == 2 and f"{path}:1:" in words, (block, words)
        said.append(words)
    path = os.path.join(proxy.directory, "users.conf")
    with open(path, "a") as file:
        file.write('user "x" { password = "only-in-the-file" pasword = "only-in-the-file" }\nuser "y" { password = only-in-the-file }\n')
    status, words = proxy.run("check", "-c", proxy.config)
    assert status == 2, words
    return said + [words]


class SecretConsole(Console):
    def run(self, *options):
        done = subprocess.run([self.binary, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
                              universal_newlines=True, env={**os.environ, **self.environment})
        return done.returncode, done.stdout

    def write_config(self, blocks):
        super().write_config(blocks)
        users = {"login_md5": PASSWORD, "trusted": PASSWORD, "postgres": "only-in-the-file", "verified": self.verifier}
        with open(os.path.join(self.directory, "users.conf"), "w") as file:
            file.write("".join(f'user "{name}" {{ password = "{password}" }}\n' for name, password in users.items()))


def P9_no_secret_is_logged_shown_or_told_whatever_happens(server):
    with Roles(server) as roles, Redis("--requirepass", "another", password="another") as redis:
        server.sql("ALTER ROLE login_clear SUPERUSER")
        blocks = BLOCKS.format(query=QUERY, port=server.port, clear=PASSWORD, nobody=free_port(), redis=redis.port,
                               few="retry { first = 20ms  max = 50ms  attempts = 3 }")
        proxy = SecretConsole(server, blocks, database=False, http=True)
        proxy.verifier = roles.secret("login_scram")
        proxy.environment["HOOK_SECRET"] = "whsec_c2VjcmV0LW9mLWVudmlyb25tZW50"
        with proxy:
            seen = all_logins(proxy)
            with psycopg.connect(host="127.0.0.1", port=proxy.port, user="login_scram", password=PASSWORD, dbname="postgres", autocommit=True) as client:
                client.execute("NOTIFY mail, 'hello'")
                client.execute(f"ALTER ROLE login_scram PASSWORD '{PASSWORD}'")
            wait_until(lambda: {"hook", "hook2", "store", "celery", "queue", "listeners"} <= {e["sink"] for e in proxy.log_where(msg="event_dead")},
                       "every sink to give up", 60)
            seen += all_that_is_shown(proxy)
            seen += bad_files(proxy)
            proxy.process.send_signal(signal.SIGHUP)  # a reload of files that are wrong now
            proxy.wait_for_log(msg="config refused")
            with open(proxy.log) as file:
                log = file.read()
            assert '"level":"debug"' in log and '"msg":"login failed"' in log and "hello" in log
            seen += [log, proxy.errors()]
            stored = roles.secret("login_scram").split("$")[-1].split(":")
            hashed = server.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'login_md5'")[0][0]
            for secret in (*SECRETS, *stored, hashed, hashed[3:]):
                for text in seen:
                    at = text.find(secret)
                    assert at < 0, f"{secret} is told: …{text[max(0, at - 200):at + 50]}…"
