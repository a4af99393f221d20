"""A headless Chromium that a script drives through chromedriver, by the W3C's WebDriver protocol.

It needs the Debian packages chromium and chromium-driver and nothing of Python's but the standard library.
"""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

PACKAGES = "chromium and chromium-driver"


def is_installed() -> bool:
    return all(shutil.which(program) for program in ("chromium", "chromedriver"))


class Browser:
    """One window. `with open_browser() as browser` closes it."""

    def __init__(self, port: int):
        self._port = port
        options = {"binary": shutil.which("chromium"),
                   "args": ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
                            # Root, as in a container, has no sandbox. The pages are our own.
                            *(["--no-sandbox"] if os.geteuid() == 0 else [])]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def _call(self, method: str, path: str, body: dict | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.load(answer)["value"]
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{value['error']}: {value['message']}")
        return value

    def open(self, page: pathlib.Path) -> None:
        self._call("POST", f"{self._session}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments):
        """What the body of a function returns in the page; a promise is waited for."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def command(self, name: str, **parameters):
        """A command of the DevTools protocol."""
        return self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def set_view(self, width: int, height: int = 900, theme: str = "light", media: str = "", scale: float = 1) -> None:
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                     mobile=False)
        self.command("Emulation.setEmulatedMedia", media=media,
                     features=[{"name": "prefers-color-scheme", "value": theme}])

    def press(self, *keys: str) -> None:
        """Presses keys by their WebDriver codes or as themselves, one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, x: float, y: float, click: bool = False) -> None:
        """Moves the mouse to a place of the window."""
        actions = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}]
        if click:
            actions += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._call("POST", f"{self._session}/actions",
                   {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def picture(self, width: int, height: int, top: int = 0, scale: float = 1) -> bytes:
        """A part of the page as PNG, from its left edge."""
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": scale}
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(taken["data"])

    def pdf(self) -> bytes:
        return base64.b64decode(self._call("POST", f"{self._session}/print", {"background": False}))

    def messages(self) -> list[dict]:
        """What the console has been told since the last call."""
        return self._call("POST", f"{self._session}/se/log", {"type": "browser"})

    def close(self) -> None:
        self._call("DELETE", self._session)


@contextlib.contextmanager
def open_browser():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        browser = Browser(port)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait()
