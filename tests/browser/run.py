#!/usr/bin/env python3
"""The live page, in a real browser, in front of a real PostgreSQL.

    tests/browser/run.py [WORD…]     those tests whose names contain one of the words

SCREENSHOTS names a directory for pictures of the page as tests have seen it.
"""

import os
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "integration")]

from browser import Browser  # noqa: E402
from ports import free_port  # noqa: E402
from postgres import Postgres  # noqa: E402
from proxy import Proxy  # noqa: E402

BLOCKS = """
route "checkout" { match = "/checkout/*"  mode = atomic }
route "reports" { match = "/reports/*"  mode = autocommit }
channel "audit" { sink = {"story", "nowhere"}  forward = off }
channel "*" { sink = {"story"}  forward = off }
sink "story" { type = log }
sink "nowhere" { type = webhook  url = "http://127.0.0.1:%d/"  retry { first = 1h  max = 1h  attempts = 2 } }
"""


def picture(browser, name):
    if os.environ.get("SCREENSHOTS"):
        browser.screenshot(os.path.join(os.environ["SCREENSHOTS"], name + ".png"))


def proxy_for(server, **options):
    return Proxy(server, BLOCKS % free_port(), http=True, **options)


def opened(browser, proxy):
    browser.open(f"http://127.0.0.1:{proxy.http_port}/")
    browser.wait_for_text("#status", "live")
    browser.run("window.neverReloaded = true")


def E3_a_held_event_appears_in_the_page_and_its_fate_after_commit(server):
    with proxy_for(server) as proxy, Browser() as browser, proxy.log_in(application_name="shop") as client:
        opened(browser, proxy)
        assert browser.text("#requests-table + .empty") == "No request is open."
        client.ask("SET pgatomic.request = '/checkout/42'")
        client.ask("SELECT 1")
        client.ask("NOTIFY welcome, 'user 42'")
        browser.wait_for_text("#requests-table tbody", "/checkout/42", "checkout", "shop", "waiting for the client")
        browser.wait_for_text("#events-table tbody tr:first-child", "welcome", "user 42", "held", "for")
        browser.wait_for_text("#held", "1")
        picture(browser, "held")
        client.ask("SET pgatomic.outcome = 'commit'")
        browser.wait_for_text("#events-table tbody tr:first-child", "delivered", "story", "/checkout/42")
        browser.wait_for_text("#requests", "0")
        browser.wait_for_text("#routes-table tbody", "checkout", "atomic")
        assert browser.text("#requests-table + .empty") == "No request is open."
        assert browser.run("return window.neverReloaded") is True, "the page was loaded again"
        assert browser.complaints() == []


def E4_a_discarded_event_says_why(server):
    with proxy_for(server) as proxy, Browser() as browser, proxy.log_in() as client:
        opened(browser, proxy)
        client.ask("SET pgatomic.request = '/checkout/1'")
        client.ask("SAVEPOINT before")
        client.ask("NOTIFY welcome, 'undone'")
        client.ask("ROLLBACK TO before")
        browser.wait_for_text("#events-table tbody tr:first-child", "welcome", "undone", "discarded", "savepoint")


def E12_a_sink_that_fails_is_seen_with_its_words(server):
    with proxy_for(server) as proxy, Browser() as browser, proxy.log_in() as client:
        opened(browser, proxy)
        client.ask("NOTIFY audit, 'one'")
        browser.wait_for_text("#events-table tbody tr:first-child", "audit", "retry", "nowhere")
        browser.wait_for_text("#sinks-table tbody", "nowhere", "webhook", "story", "log")
        assert browser.complaints() == []


def shell_whatever_clients_say_is_text_and_nothing_else(server):
    evil = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"
    with proxy_for(server) as proxy, Browser() as browser, proxy.log_in(application_name=evil) as client:
        opened(browser, proxy)
        client.ask(f"SET pgatomic.request = '/checkout/{evil}'")
        client.ask(f"NOTIFY \"{evil[:60]}\", '{evil}'")
        assert evil in browser.wait_for_text("#requests-table tbody", evil)
        assert evil[:60] in browser.wait_for_text("#events-table tbody", "held")
        assert browser.run("return [window.pwned ?? null, document.images.length, document.scripts.length]") == [None, 0, 1]
        assert browser.complaints() == []


def shell_the_page_says_when_pgatomic_is_gone_and_goes_on_when_it_is_back(server):
    with proxy_for(server) as proxy, Browser() as browser:
        opened(browser, proxy)
        proxy.stop()
        browser.wait_for_text("#status", "no answer from pgatomic")
        proxy.start()
        browser.wait_for_text("#status", "live")
        assert browser.run("return window.neverReloaded") is True


def shell_it_can_be_read_on_a_phone_and_in_the_dark(server):
    with proxy_for(server, workers=2) as proxy:
        clients = [proxy.log_in(application_name=f"shop-{n}") for n in range(4)]
        for n, client in enumerate(clients):
            client.ask(f"SET pgatomic.request = '/checkout/{n}'")
            client.ask("SELECT 1")
            client.ask(f"""NOTIFY "mail.welcome", '{{"to": "user-{n}@example.com", "subject": "Welcome to the shop", "n": {n}}}'""")
        clients[3].ask("SET pgatomic.outcome = 'commit'")
        clients[2].ask("SET pgatomic.outcome = 'rollback'")
        with proxy.log_in() as client:
            client.ask("NOTIFY audit, 'one'")
        for name, options in [("desktop", {}), ("dark", {"dark": True}), ("phone", {"width": 390, "height": 1900})]:
            with Browser(**options) as browser:
                opened(browser, proxy)
                browser.wait_for_text("#events-table tbody", "delivered", "discarded", "retry", "held")
                picture(browser, name)
                wide = browser.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
                assert wide[0] <= wide[1], f"{name}: the page is {wide[0]} wide in a window of {wide[1]}"
                colour = browser.run("return getComputedStyle(document.body).backgroundColor")
                red = int(colour.split("(")[1].split(",")[0])
                assert (red < 64) == options.get("dark", False), colour
        for client in clients:
            client.close()


def main(words):
    passed, failed = 0, 0
    tests = [test for name, test in globals().items() if name[:1] in "ER" and name[1:2].isdigit() or name.startswith("shell_")]
    with Postgres() as server:
        for test in tests:
            if words and not any(word in test.__name__ for word in words):
                continue
            try:
                test(server)
                passed += 1
                print(f"ok      {test.__name__}", flush=True)
            except Exception:  # pylint: disable=broad-except
                failed += 1
                print(f"FAILED  {test.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
