"""COPY FROM STDIN on routes where pgatomic has something of its own to say to the server."""

from proxy import Proxy
from wire import TERMINATE, fields, message, query

ROUTE = 'route "all" { mode = atomic  end = commit  on_error = rollback_statement }\n'


def R9_what_undoes_a_failed_copy_waits_for_the_end_of_a_message_that_is_under_way(server):
    server.sql("DROP TABLE IF EXISTS copied_late; CREATE TABLE copied_late (id int)")
    with Proxy(server, ROUTE) as proxy, proxy.log_in() as client:
        client.ask("INSERT INTO copied_late VALUES (1)")
        client.send(query("COPY copied_late FROM STDIN"))
        client.read_until(b"G")
        late = message(b"d", b"2\n" * 1000)
        client.send(message(b"d", b"no number\n") + late[:700])
        kind, body = client.read()
        assert kind == b"E" and fields(body)["C"] == "22P02", (kind, body)
        client.send(late[700:] + message(b"c"))
        assert client.read_until(b"Z")[-1][1] == b"I"
        assert client.value("SELECT count(*) FROM copied_late") == "1"
        client.send(TERMINATE)
        client.read_to_end()
        proxy.wait_for_log(msg="request_committed")
    assert server.sql("SELECT count(*) FROM copied_late") == [["1"]]
