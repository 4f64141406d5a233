"""Counts what held and what did not, and talks to the simulator's own API."""

import json
import sys
import time
import urllib.error
import urllib.request

DEADLINE_S = 10


class Judge:
    """Each check has a name; the last line is `N passed, N failed`."""

    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0

    def holds(self, what, is_so, shown=None):
        if is_so:
            self.passed += 1
        else:
            self.failed += 1
        mark = "ok    " if is_so else "FAILED"
        detail = "" if is_so or shown is None else f": {shown!r}"
        print(f"{mark} {self.name}: {what}{detail}", flush=True)
        return is_so

    def refuses(self, what, work, is_right):
        """`work` has to raise an error for which `is_right` holds."""
        try:
            answer = work()
        except Exception as error:  # whatever the library raises is what is judged
            self.holds(what, is_right(error), error)
        else:
            self.holds(what, False, answer)

    def eventually(self, what, look):
        """Waits until `look` gives something; answers it."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            found = look()
            if found:
                self.holds(what, True)
                return found
            time.sleep(0.01)
        self.holds(what, False, "nothing came")
        return None

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


class Simulator:
    """The simulator's own API, under /sim/v1."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/sim/v1{path}", data=data, method=method, headers={"content-type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=DEADLINE_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def say(self, customer, **what):
        return self.call("POST", f"/phones/{customer}/messages", what)["message_ids"]

    def bubble(self, customer, message_id):
        phone = self.call("GET", f"/phones/{customer}")
        own = [message for talk in phone["conversations"] for message in talk["messages"]]
        return next((message for message in own if message["id"] == message_id), None)
