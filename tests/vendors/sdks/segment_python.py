"""segment-analytics-python tells the story of one customer: `python segment_python.py URL KEY`."""

import sys

from segment.analytics.client import Client  # type: ignore[import-untyped]

url, key = sys.argv[1:]
failures: list[object] = []
context = {"groupId": "acme"}
for gzip in (False, True):
    client = Client(key, host=url, gzip=gzip, max_retries=1, on_error=lambda error, items: failures.append(error))
    if gzip:
        for number in range(20):
            client.track("u1", "Seat Limit Reached", {"used": number, "seats": 20}, context)
    else:
        client.identify("u1", {"role": "admin", "locale": "de", "nested": {"a": [1, 2.5, None, "ü"]}})
        client.group("u1", "acme", {"name": "Acme", "seats": 10})
        client.track("u1", "Ticket Opened", {"ticket": "T1", "priority": "low"}, context)
    client.shutdown()
sys.exit(repr(failures) if failures else 0)
