"""posthog tells the story of one customer: `python posthog_python.py URL KEY`."""

import sys

from posthog import Posthog

url, key = sys.argv[1:]
failures: list[object] = []
groups = {"company": "acme"}
for gzip in (False, True):
    client = Posthog(
        key, host=url, gzip=gzip, max_retries=1, on_error=lambda error, items: failures.append(error)
    )
    if gzip:
        for number in range(20):
            client.capture(
                "Seat Limit Reached", distinct_id="u1", properties={"used": number, "seats": 20}, groups=groups
            )
    else:
        traits = {"role": "admin", "locale": "de", "nested": {"a": [1, 2.5, None, "ü"]}}
        client.set(distinct_id="u1", properties=traits)
        client.group_identify("company", "acme", {"name": "Acme", "seats": 10})
        client.capture(
            "Ticket Opened", distinct_id="u1", properties={"ticket": "T1", "priority": "low"}, groups=groups
        )
    client.shutdown()
sys.exit(repr(failures) if failures else 0)
