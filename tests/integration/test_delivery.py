"""Delivery (E5, E6, E11 to E13, R11): what the dispatcher promises whatever the sink, seen at receivers of webhooks."""

import random
import signal
import threading

from proxy import Proxy, wait_until
from receiver import Receiver
from test_http import fetch
from test_outbox import Outbox
from wire import fields

QUICK = "retry { first = 10ms  max = 50ms  attempts = 1000 }"


def hook(receiver, name="hook", more=QUICK):
    return f'sink "{name}" {{ type = webhook  url = "{receiver.url}"  {more} }}\n'


def channel(pattern="*", sinks=("hook",), more=""):
    names = ", ".join(f'"{name}"' for name in sinks)
    return f'channel "{pattern}" {{ sink = {{{names}}}  forward = off  {more} }}\n'


def ask_ok(client, text):
    for kind, body in client.ask(text):
        assert kind != b"E", fields(body)


def error_of(client, text):
    return next((fields(body) for kind, body in client.ask(text) if kind == b"E"), None)


def texts(posts, name):
    return [post.text for post in posts if post.channel == name]


def E6_what_was_committed_is_delivered_and_what_was_rolled_back_is_not(server):
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
        ask_ok(client, "BEGIN")
        ask_ok(client, "NOTIFY mail, 'rolled back'")
        ask_ok(client, "ROLLBACK")
        ask_ok(client, "BEGIN")
        ask_ok(client, "NOTIFY mail, 'first'")
        ask_ok(client, "SAVEPOINT s")
        ask_ok(client, "NOTIFY mail, 'undone'")
        ask_ok(client, "ROLLBACK TO s")
        ask_ok(client, "NOTIFY mail, 'second'")
        assert not receiver.seen
        ask_ok(client, "COMMIT")
        assert [post.text for post in receiver.wait_for(2)] == ["first", "second"]
        lines = proxy.wait_for_log(msg="event_delivered", count=2)
        assert [(line["sink"], line["attempt"], line["payload"]) for line in lines] == [("hook", 1, "first"), ("hook", 1, "second")]
        assert all(line["latency_ms"] > 0 for line in lines)
        assert [post.id for post in receiver.taken] == [line["id"] for line in lines]
        assert len(receiver.seen) == 2


def E5_a_channels_events_arrive_in_the_order_of_their_commits(server):
    """Four clients, four channels, a receiver that fails every third time."""
    chance = random.Random(5)
    with Receiver(lambda post: chance.choice([200, 200, 503])) as receiver:
        with Proxy(server, hook(receiver) + channel(), workers=2) as proxy:
            def send(number):
                with proxy.log_in() as client:
                    for i in range(100):
                        ask_ok(client, f"BEGIN; NOTIFY c{number}, '{2 * i}'; NOTIFY c{number}, '{2 * i + 1}'; COMMIT")

            threads = [threading.Thread(target=send, args=[number]) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            posts = receiver.wait_for(800)
            for number in range(4):
                assert texts(posts, f"c{number}") == [str(i) for i in range(200)]
            assert len(proxy.wait_for_log(msg="event_delivered", count=800)) == 800
            assert len(proxy.log_where(msg="event_retry")) == len(receiver.seen) - 800


def E5_two_clients_who_wait_for_each_other_are_delivered_in_that_order(server):
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel(), workers=2) as proxy:
        with proxy.log_in() as one, proxy.log_in() as other:
            for i in range(100):
                ask_ok(other if i % 2 else one, f"NOTIFY turns, '{i}'")
            assert texts(receiver.wait_for(100), "turns") == [str(i) for i in range(100)]


def E5_a_failing_event_holds_back_its_own_channel_and_no_other(server):
    with Receiver(lambda post: 500 if post.text == "poison" else 200) as receiver:
        with Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY sick, 'poison'")
            ask_ok(client, "NOTIFY sick, 'behind it'")
            for i in range(20):
                ask_ok(client, f"NOTIFY well, '{i}'")
            assert texts(receiver.wait_for(20), "well") == [str(i) for i in range(20)]
            assert "behind it" not in texts(receiver.seen, "sick")


def E5_without_ordering_a_failing_event_holds_back_nothing(server):
    with Receiver(lambda post: 500 if post.text == "poison" else 200) as receiver:
        with Proxy(server, hook(receiver) + channel(more="ordering = none")) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY loose, 'poison'")
            ask_ok(client, "NOTIFY loose, 'behind it'")
            assert texts(receiver.wait_for(1), "loose") == ["behind it"]


def E12_a_failure_is_retried_with_waits_that_double_and_then_the_event_is_dead(server):
    retry = "retry { first = 16ms  max = 40ms  attempts = 4 }"
    with Receiver(lambda post: (503, {}, b"come back\n")) as receiver:
        with Proxy(server, hook(receiver, more=retry) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, f"NOTIFY mail, '{'long ' * 100}'")
            dead = proxy.wait_for_log(msg="event_dead")[0]
            retries = proxy.log_where(msg="event_retry")
            assert [line["attempt"] for line in retries] == [1, 2, 3]
            for line, most in zip(retries, (16, 32, 40)):
                assert most / 2 <= line["next_ms"] <= most, line
                assert line["reason"] == "HTTP 503: come back" and line["level"] == "warn" and line["sink"] == "hook"
            assert dead["attempt"] == 4 and dead["reason"] == "HTTP 503: come back" and dead["level"] == "error"
            assert dead["payload"] == "long " * 100
            assert len({post.id for post in receiver.seen}) == 1 and len(receiver.seen) == 4


def E12_the_channel_of_a_dead_event_goes_on(server):
    retry = "retry { first = 1ms  max = 1ms  attempts = 2 }"
    with Receiver(lambda post: 500 if post.text == "poison" else 200) as receiver:
        with Proxy(server, hook(receiver, more=retry) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'poison'")
            ask_ok(client, "NOTIFY mail, 'next'")
            assert [post.text for post in receiver.wait_for(1)] == ["next"]
            assert [line["payload"] for line in proxy.wait_for_log(msg="event_dead")] == ["poison"]


def E12_a_receiver_that_is_down_for_a_while_gets_everything_in_order_when_it_is_back(server):
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
        ask_ok(client, "NOTIFY c0, 'before'")
        receiver.wait_for(1)
        receiver.stop()
        for i in range(300):
            ask_ok(client, f"NOTIFY c{i % 30}, '{i}'")
        wait_until(lambda: len(proxy.log_where(msg="event_retry")) >= 40, "it to be tried again and again")
        receiver.start()
        posts = receiver.wait_for(301)[1:]
        for number in range(30):
            assert texts(posts, f"c{number}") == [str(i) for i in range(number, 300, 30)]
        assert not proxy.log_where(msg="event_dead")


def E12_a_sink_that_is_down_does_not_use_up_the_tries_of_all_that_wait_for_it(server):
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel(more="ordering = none")) as proxy, proxy.log_in() as client:
        receiver.stop()
        for i in range(500):
            ask_ok(client, f"NOTIFY loose, '{i}'")
        wait_until(lambda: len(proxy.log_where(msg="event_retry")) >= 60, "it to be tried again and again")
        tried = {line["id"] for line in proxy.log_where(msg="event_retry")}
        assert len(tried) < 250, len(tried)
        receiver.start()
        receiver.wait_for(500)


def E12_a_slow_sink_delays_neither_a_commit_nor_another_sink(server):
    held = threading.Event()
    with Receiver(lambda post: held.wait(60) and 200) as slow, Receiver() as quick:
        blocks = hook(slow, "slow") + hook(quick, "quick") + channel(sinks=("slow", "quick"))
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            for i in range(100):
                ask_ok(client, f"NOTIFY c, '{i}'")
            assert texts(quick.wait_for(100), "c") == [str(i) for i in range(100)]
            assert not slow.taken and len(slow.seen) <= 1
            held.set()
            assert texts(slow.wait_for(100), "c") == [str(i) for i in range(100)]


def E13_a_sink_that_is_behind_refuses_events_and_others_go_on(server):
    held = threading.Event()
    limits = "limits { held = 20kB  event = 8kB }\n"
    with Receiver(lambda post: held.wait(60) and 200) as slow, Receiver() as quick:
        blocks = limits + hook(slow, "slow") + hook(quick, "quick") + channel("slow*", ["slow"]) + channel("quick*", ["quick"])
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            sent = 0
            while (error := error_of(client, f"NOTIFY slow, '{sent:05d}{'x' * 2000}'")) is None:
                sent += 1
                assert sent < 20
            assert error["C"] == "54000" and error["M"] == 'sink "slow" is behind: limits.held', error
            assert sent >= 5
            ask_ok(client, "NOTIFY quick, 'still here'")
            assert [post.text for post in quick.wait_for(1)] == ["still here"]
            assert client.value("SELECT 1") == "1"
            held.set()
            slow.wait_for(sent)
            proxy.wait_for_log(msg="event_delivered", sink="slow", count=sent)
            ask_ok(client, "NOTIFY slow, 'room again'")
            assert slow.wait_for(sent + 1)[-1].text == "room again"


def E13_one_transaction_cannot_hold_more_than_its_sink_may(server):
    with Receiver() as receiver:
        with Proxy(server, "limits { held = 20kB  event = 8kB }\n" + hook(receiver) + channel()) as proxy, proxy.log_in() as client:
            ask_ok(client, "BEGIN")
            for i in range(2):
                ask_ok(client, f"NOTIFY mail, '{i}{'x' * 7999}'")
            assert error_of(client, f"NOTIFY mail, '2{'x' * 7999}'")["M"] == 'sink "hook" is behind: limits.held'
            ask_ok(client, "ROLLBACK")
            ask_ok(client, "NOTIFY mail, 'small'")
            assert [post.text for post in receiver.wait_for(1)] == ["small"]


def E13_a_transaction_that_met_a_sink_behind_is_failed_and_can_be_rolled_back(server):
    with Receiver(lambda post: 503) as receiver:
        blocks = "limits { held = 2kB  event = 1kB }\n" + hook(receiver) + channel()
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            while error_of(client, "NOTIFY mail, 'x'") is None:
                pass
            ask_ok(client, "BEGIN")
            assert error_of(client, "NOTIFY mail, 'y'")["C"] == "54000"
            assert error_of(client, "SELECT 1")["C"] == "25P02"
            ask_ok(client, "ROLLBACK")
            ask_ok(client, "SELECT 1")


def E12_a_reload_keeps_what_waits_and_sends_it_where_the_new_config_says(server):
    with Receiver(lambda post: 503) as old, Receiver() as new:
        with Proxy(server, hook(old) + channel()) as proxy, proxy.log_in() as client:
            for i in range(50):
                ask_ok(client, f"NOTIFY mail, '{i}'")
            old.wait_until_seen(2)
            proxy.reload(hook(new) + channel())
            assert texts(new.wait_for(50), "mail") == [str(i) for i in range(50)]


def E12_events_whose_sink_is_gone_from_the_config_are_dead_and_say_so(server):
    with Receiver(lambda post: 503) as receiver, Receiver() as other:
        blocks = hook(receiver, "old") + hook(other, "other") + channel(sinks=["old", "other"])
        with Proxy(server, blocks) as proxy, proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'one'")
            ask_ok(client, "NOTIFY mail, 'two'")
            other.wait_for(2)
            proxy.reload(hook(other, "other") + channel(sinks=["other"]))
            dead = proxy.wait_for_log(msg="event_dead", count=2)
            assert [(line["sink"], line["reason"], line["payload"]) for line in dead] == [
                ("old", "the sink is no longer in the config", payload) for payload in ("one", "two")]


def E12_a_reload_that_changes_nothing_keeps_the_connection(server):
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel()) as proxy, proxy.log_in() as client:
        for i in range(10):
            ask_ok(client, f"NOTIFY mail, '{i}'")
            receiver.wait_for(i + 1)
            proxy.reload(hook(receiver) + channel())
            proxy.wait_for_log(msg="config reloaded", count=i + 1)
        assert receiver.connections == 1


def P12_sigterm_delivers_what_was_released(server):
    held = threading.Event()
    with Receiver(lambda post: held.wait(60) and 200) as receiver:
        with Proxy(server, hook(receiver) + channel()) as proxy:
            with proxy.log_in() as client:
                for i in range(20):
                    ask_ok(client, f"NOTIFY mail, '{i}'")
            receiver.wait_until_seen(1)
            proxy.process.send_signal(signal.SIGTERM)
            proxy.wait_for_log(msg="draining")
            held.set()
            wait_until(lambda: proxy.process.poll() is not None, "pgatomic to end")
            assert proxy.process.returncode == 0
            assert texts(receiver.taken, "mail") == [str(i) for i in range(20)]
            assert len(proxy.log_where(msg="event_delivered")) == 20 and not proxy.log_where(msg="event_dead")


def P12_who_only_delivers_what_is_left_is_alive_and_not_ready(server):
    held = threading.Event()
    with Receiver(lambda post: held.wait(60) and 200) as receiver:
        with Proxy(server, hook(receiver) + channel(), http=True) as proxy:
            with proxy.log_in() as client:
                ask_ok(client, "NOTIFY mail, 'one'")
            receiver.wait_until_seen(1)
            proxy.process.send_signal(signal.SIGTERM)
            wait_until(lambda: fetch(proxy, "/metrics")[0::2] == (503, "stopping\n"), "the workers to end")
            assert fetch(proxy, "/healthz")[0::2] == (200, "alive\n")
            assert fetch(proxy, "/readyz")[0::2] == (503, "draining\n")
            held.set()
            wait_until(lambda: proxy.process.poll() == 0, "pgatomic to end")
            assert texts(receiver.taken, "mail") == ["one"]


def P12_sigterm_does_not_wait_for_a_sink_that_will_not_be_tried_in_time(server):
    retry = "retry { first = 1h  max = 1h  attempts = 5 }"
    with Receiver(lambda post: 503) as receiver, Proxy(server, hook(receiver, more=retry) + channel()) as proxy:
        with proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'one'")
            ask_ok(client, "NOTIFY mail, 'two'")
        proxy.wait_for_log(msg="event_retry")
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: proxy.process.poll() is not None, "pgatomic to end")
        dead = proxy.log_where(msg="event_dead")
        assert [(line["payload"], line["reason"]) for line in dead] == [("one", "shutdown"), ("two", "shutdown")]


def P12_sigint_stops_deliveries_at_once_even_while_draining(server):
    held = threading.Event()
    with Receiver(lambda post: held.wait(60) and 200) as receiver, Proxy(server, hook(receiver) + channel()) as proxy:
        with proxy.log_in() as client:
            ask_ok(client, "NOTIFY mail, 'one'")
        receiver.wait_until_seen(1)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for_log(msg="draining")
        proxy.process.send_signal(signal.SIGINT)
        wait_until(lambda: proxy.process.poll() is not None, "pgatomic to end")
        assert [line["reason"] for line in proxy.log_where(msg="event_dead")] == ["shutdown"]
        held.set()


def R11_a_sandboxs_events_go_only_where_its_route_says(server):
    with Receiver() as real, Receiver() as fake:
        blocks = hook(real, "real") + hook(fake, "fake") + 'sink "story" { type = log }\n' + channel(sinks=["real", "fake", "story"])
        blocks += 'route "tests" { application = "tests"  mode = sandbox  end = commit  sandbox_sinks = {"fake"} }\n'
        with Proxy(server, blocks) as proxy:
            with proxy.log_in(application_name="tests") as client:
                ask_ok(client, "NOTIFY mail, 'of a test'")
            fake.wait_for(1)
            with proxy.log_in() as client:
                ask_ok(client, "NOTIFY mail, 'in earnest'")
            assert [post.text for post in real.wait_for(1)] == ["in earnest"]
            assert [post.text for post in fake.wait_for(2)] == ["of a test", "in earnest"]
            sandboxed = proxy.wait_for_log(msg="event_delivered", sandbox=True, count=2)
            assert {line["sink"] for line in sandboxed} == {"fake", "story"}


def E12_thousands_of_events_to_a_receiver_that_fails_now_and_then_arrive_once_each(server):
    chance = random.Random(12)
    with Receiver(lambda post: chance.choice([200] * 19 + [500])) as receiver:
        with Proxy(server, hook(receiver) + channel(), workers=2) as proxy:
            with proxy.log_in() as client:
                for i in range(30):
                    ask_ok(client, "BEGIN;" + "".join(f"NOTIFY c{n % 16}, '{i * 100 + n}';" for n in range(100)) + "COMMIT")
            posts = receiver.wait_for(3000, seconds=60)
            assert sorted(int(post.text) for post in posts) == list(range(3000))
            assert len(receiver.taken) == 3000


def E6_the_log_tells_a_story_in_its_order(server):
    """Lines of several threads: what comes later stands further down."""
    with Receiver() as receiver, Proxy(server, hook(receiver) + channel(), workers=2) as proxy:
        with proxy.log_in() as client:
            for i in range(50):
                ask_ok(client, f"NOTIFY mail, '{i}'")
        proxy.wait_for_log(msg="event_delivered", count=50)
        stories = {}
        for line in proxy.log_lines():
            if line["msg"].startswith("event_"):
                stories.setdefault(line["id"], []).append(line["msg"])
        assert set(map(tuple, stories.values())) == {("event_held", "event_released", "event_delivered")}
        status, said = proxy.run("events", proxy.log)
        assert status == 0 and said.count("released") == 50 and said.count("delivered hook") == 50


def durable(receiver, limits=""):
    return limits + hook(receiver) + channel("notes", more="delivery = outbox")


def E13_a_durable_event_past_the_limit_waits_in_its_table(server):
    with Outbox(server) as outbox, Receiver(lambda post: 503) as receiver:
        blocks = durable(receiver, "limits { held = 4kB  event = 1kB }\n")
        with outbox.proxy(blocks) as proxy, proxy.log_in(database="shop") as client:
            for i in range(60):
                ask_ok(client, f"NOTIFY notes, '{i:03d}{'x' * 500}'")
            wait_until(lambda: len(proxy.log_where(msg="event_retry")) >= 5, "it to be tried")
            assert outbox.count() == 60
            receiver.answer = lambda post: 200
            outbox.wait_until_empty()
            assert sorted({int(post.text[:3]) for post in receiver.taken}) == list(range(60))
            assert not proxy.log_where(msg="event_dead") and outbox.count("dead_letter") == 0


def E8_a_durable_event_that_is_dead_is_kept_for_a_person(server):
    with Outbox(server) as outbox, Receiver(lambda post: 410 if post.text == "gone" else 200) as receiver:
        with outbox.proxy(durable(receiver)) as proxy, proxy.log_in(database="shop") as client:
            ask_ok(client, "NOTIFY notes, 'well'")
            receiver.wait_for(1)
            ask_ok(client, "NOTIFY notes, 'gone'")
            proxy.wait_for_log(msg="event_dead")
            outbox.wait_until_empty()
            assert outbox.sql("SELECT payload, attempts, last_error FROM pgatomic.dead_letter") == [["gone", "1", "HTTP 410"]]


def E8_what_is_durable_and_undelivered_at_the_end_is_delivered_by_the_next(server):
    with Outbox(server) as outbox, Receiver(lambda post: 503) as receiver:
        blocks = durable(receiver)
        with outbox.proxy(blocks) as proxy:
            with proxy.log_in(database="shop") as client:
                for i in range(20):
                    ask_ok(client, f"NOTIFY notes, '{i}'")
            proxy.wait_for_log(msg="event_retry")
            proxy.stop(signal.SIGINT)
            assert not proxy.log_where(msg="event_dead")
        assert outbox.count() == 20
        receiver.answer = lambda post: 200
        with outbox.proxy(blocks) as proxy:
            assert sorted(int(post.text) for post in receiver.wait_for(20)) == list(range(20))
            outbox.wait_until_empty()


def E5_reloads_failures_and_lost_answers_make_copies_but_neither_gaps_nor_disorder(server):
    chance = random.Random(55)

    def answer(post):
        return chance.choice([200, 200, 200, 503, lambda sock: None, lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")])

    with Receiver(answer) as receiver:
        def blocks(number):
            return hook(receiver, more=f"timeout = {20 + number}s  {QUICK}") + channel()

        with Proxy(server, blocks(0), workers=2) as proxy:
            with proxy.log_in() as client:
                for number in range(1, 21):
                    ask_ok(client, "BEGIN;" + "".join(f"NOTIFY c{i % 5}, '{number * 50 + i}';" for i in range(50)) + "COMMIT")
                    proxy.reload(blocks(number))
                    proxy.wait_for_log(msg="config reloaded", count=number)
            proxy.wait_for_log(msg="event_delivered", count=1000)
            posts = list(receiver.seen)
            for number in range(5):
                seen = [int(post.text) for post in posts if post.channel == f"c{number}"]
                once = list(dict.fromkeys(seen))  # a receiver may read what a reload has given up after what came behind it
                assert once == list(range(50 + number, 1050, 5)), (number, seen)
