"""What a service manager is told, and sockets that it has opened (P12)."""

import contextlib
import os
import re
import signal
import socket
import stat
import tempfile

from proxy import Proxy, free_port, wait_until
from wire import Client

UNITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docker")


class Manager:
    """Hears what a service says."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="pgatomic-manager-")
        self.path = os.path.join(self.directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        os.unlink(self.path)
        os.rmdir(self.directory)

    def hear(self):
        """The next message, as a dictionary."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def hear_until(self, name):
        while True:
            said = self.hear()
            if name in said:
                return said


@contextlib.contextmanager
def service(server, blocks="", environment=None, sockets=(), port=None, arguments=(), **options):
    proxy = Proxy(server, blocks, **options)
    proxy.port = port or proxy.port
    proxy.sockets = list(sockets)
    proxy.environment = {**(environment or {}), **({"LISTEN_FDS": str(len(sockets))} if sockets else {})}
    try:
        proxy.start(*arguments)
        yield proxy
    finally:
        proxy.__exit__(None)


def P12_the_manager_hears_when_clients_are_served_and_when_no_longer(server):
    with Manager() as manager, service(server, "drain_timeout = 7s\n", {"NOTIFY_SOCKET": manager.path}) as proxy:
        said = manager.hear()
        assert said["READY"] == "1" and "pgatomic" in said["STATUS"], said
        with proxy.log_in() as client:
            assert client.value("SELECT 1") == "1"
            client.ask("BEGIN")
            proxy.process.send_signal(signal.SIGTERM)
            said = manager.hear()
            assert said["STOPPING"] == "1" and said["STATUS"] == "draining" and int(said["EXTEND_TIMEOUT_USEC"]) >= 7_000_000, said
            client.ask("COMMIT")
        wait_until(lambda: not proxy.is_alive(), "pgatomic to end")


def P12_the_manager_hears_of_a_reload_from_its_beginning_to_its_end(server):
    with Manager() as manager, service(server, environment={"NOTIFY_SOCKET": manager.path}) as proxy:
        manager.hear_until("READY")
        for blocks, status in (("", "config reloaded"), ('route "r" { mode = sideways }\n', "the new config was refused: the old one is in force")):
            proxy.reload(blocks)
            said = manager.hear()
            assert said["RELOADING"] == "1" and int(said["MONOTONIC_USEC"]) > 0, said
            assert manager.hear() == {"READY": "1", "STATUS": status}


def P12_the_watchdog_hears_again_and_again_also_while_draining(server):
    with Manager() as manager, service(server, environment={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "100000"}) as proxy:
        for _ in range(3):
            assert manager.hear_until("WATCHDOG")["WATCHDOG"] == "1"
        with proxy.log_in() as client:
            client.ask("BEGIN")
            proxy.process.send_signal(signal.SIGTERM)
            manager.hear_until("STOPPING")
            for _ in range(3):
                manager.hear_until("WATCHDOG")
            client.ask("COMMIT")


def P12_a_manager_that_is_told_by_nobody_to_listen_hears_nothing_of_a_start_that_fails(server):
    with Manager() as manager, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        proxy = Proxy(server, listen=[f"127.0.0.1:{taken.getsockname()[1]}"])
        proxy.environment = {"NOTIFY_SOCKET": manager.path}
        try:
            proxy.write_config("")
            proxy.launch()
            wait_until(lambda: not proxy.is_alive(), "pgatomic to end")
            assert proxy.process.returncode == 1
            manager.socket.setblocking(False)
            try:
                raise AssertionError(manager.hear())
            except BlockingIOError:
                pass
        finally:
            proxy.remove()


@contextlib.contextmanager
def listening(address, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as sock:
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield sock


def P12_sockets_that_the_manager_listens_on_are_used(server):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, ".s.PGSQL.6543")
        with listening(("127.0.0.1", 0)) as tcp, listening(path, socket.AF_UNIX) as unix:
            port, own = tcp.getsockname()[1], free_port()
            early = Client(port)
            with service(server, sockets=[tcp, unix], port=port,
                         listen=[f"127.0.0.1:{own}", f"unix:{directory}:6543", f"127.0.0.1:{port}"]) as proxy:
                assert early.log_in().value("SELECT 1") == "1", "it came before there was a process"
                for _ in range(2):
                    with proxy.log_in() as client, Client(own).log_in() as other:
                        assert client.value("SELECT 1") == "1" and other.value("SELECT 1") == "1"
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(path)
                assert proxy.stop() == 0
            assert stat.S_ISSOCK(os.stat(path).st_mode), "the file is the manager's"
            with socket.socket() as late:
                assert late.connect_ex(("127.0.0.1", port)) == 0, "the manager listens on"


def P12_a_socket_that_the_config_does_not_name_is_an_error_that_does(server):
    with listening(("127.0.0.1", 0)) as tcp, listening(("127.0.0.1", 0), kind=socket.SOCK_DGRAM) as udp:
        for sock, words in ((tcp, f"127.0.0.1:{tcp.getsockname()[1]}"), (udp, "no listening stream socket")):
            proxy = Proxy(server)
            proxy.sockets, proxy.environment = [sock], {"LISTEN_FDS": "1"}
            try:
                proxy.write_config("")
                proxy.launch()
                wait_until(lambda p=proxy: not p.is_alive(), "pgatomic to end")
                assert proxy.process.returncode == 1
                errors = [line for line in proxy.log_lines() if line["level"] == "error"]
                assert len(errors) == 1 and words in str(errors), errors
            finally:
                proxy.remove()


def P12_a_takeover_under_a_manager_that_holds_the_socket(server):
    def takes_place(old, new):
        new.wait_for_log(msg="started")
        wait_until(lambda: not old.is_alive(), "the process before to end")
        with new.log_in() as client:
            assert client.value("SELECT 1") == "1"
        assert not new.log_where(level="warn"), new.log_where(level="warn")

    with listening(("127.0.0.1", 0)) as tcp:
        port = tcp.getsockname()[1]
        options = {"sockets": [tcp], "port": port, "listen": [f"127.0.0.1:{port}"], "blocks": "limits { clients = 100 }\n"}
        with service(server, **options) as first:
            first.wait_for_log(msg="started")
            with service(server, **options, arguments=["--takeover"]) as second:
                takes_place(first, second)
                with service(server, **options, arguments=["--takeover"]) as third:
                    takes_place(second, third)


def settings_of(unit):
    """{name: [values]} of a unit in the tree."""
    found = {}
    with open(os.path.join(UNITS, unit)) as file:
        for name, value in re.findall(r"^(\w+)=(.*)$", file.read(), re.M):
            found.setdefault(name, []).append(value)
    return found


def P12_the_units_in_the_tree_name_addresses_that_go_together(server):
    """The sockets that the socket unit opens have to be those of a config's `listen`, or pgatomic would refuse them."""
    del server
    assert settings_of("pgatomic.socket")["ListenStream"] == ["127.0.0.1:6432"]
    one, instances = settings_of("pgatomic.service"), settings_of("pgatomic@.service")
    for unit in (one, instances):
        assert unit["Type"] == ["notify"] and unit["WatchdogSec"] == ["30s"] and unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert instances["ExecStart"] == [one["ExecStart"][0] + " --takeover"], "each takes the place of the one before"
    assert instances["RuntimeDirectoryPreserve"] == ["yes"], "the one that ends must not remove the other's sockets"
    apart = {"Description", "ExecStart", "RuntimeDirectoryPreserve"}
    assert {name: value for name, value in one.items() if name not in apart} == {
        name: value for name, value in instances.items() if name not in apart}
