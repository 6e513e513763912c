"""A headless Chromium, asked over the W3C WebDriver protocol, which is HTTP and JSON: no library is needed to speak it."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from ports import free_port  # noqa: E402
from waiting import wait_until  # noqa: E402


class Browser:
    """`dark` and `width` are what the page sees of its reader."""

    def __init__(self, width=1280, height=900, dark=False):
        self.directory = tempfile.mkdtemp(prefix="browser-")
        self.port = free_port()
        self.session = None
        self.driver = None
        self.arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                          "--disable-background-networking", "--disable-component-update", "--disable-extensions",
                          f"--user-data-dir={self.directory}/profile"]
        self.width, self.height, self.dark = width, height, dark

    def __enter__(self):
        with open(os.path.join(self.directory, "driver.log"), "wb") as log:
            self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}", "--allowed-ips=127.0.0.1"],
                                           stdout=log, stderr=log)
        try:
            wait_until(self._is_ready, "chromedriver to listen")
            options = {"args": self.arguments, "binary": shutil.which("chromium")}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            self.session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            self._see_as()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self._ask("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            self.driver.wait()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _ask(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']['message']}") from None

    def _is_ready(self):
        assert self.driver.poll() is None, "chromedriver ended by itself"
        try:
            return self._ask("GET", "/status")["ready"]
        except OSError:
            return False

    def _command(self, name, **parameters):
        """One of Chromium's own, for what WebDriver has no word for."""
        return self._ask("POST", f"/session/{self.session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def _see_as(self):
        self._command("Emulation.setDeviceMetricsOverride", width=self.width, height=self.height, deviceScaleFactor=1,
                      mobile=self.width < 700)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        self._ask("POST", f"/session/{self.session}/url", {"url": url})

    def run(self, script, *arguments):
        """What the body of a function returns in the page."""
        return self._ask("POST", f"/session/{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        """What a reader sees there; None: there is no such element."""
        return self.run("const e = document.querySelector(arguments[0]); return e && e.innerText", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector)

    def wait_for_text(self, selector, *words):
        """Waits until the text there has all these words, and returns it."""
        seen = []

        def has_words():
            text = self.text(selector)
            seen[:] = [text]
            return text if text is not None and all(word in text for word in words) else None

        try:
            return wait_until(has_words, "")
        except AssertionError:
            raise AssertionError(f"{selector} has {seen[0]!r}, and not {words}") from None

    def complaints(self):
        """What the browser wrote to its console since the last time: errors of scripts, refusals of the page's policy."""
        return [line["message"] for line in self._ask("POST", f"/session/{self.session}/se/log", {"type": "browser"})]

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self._ask("GET", f"/session/{self.session}/screenshot")))
