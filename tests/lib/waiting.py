"""Waiting for a condition, with a deadline: the only kind of waiting that tests do."""

import time


def wait_until(condition, what, seconds=30.0):
    """Calls `condition` until it returns something true, which is then the result. Fails loudly after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.01)
