"""Stands in for the metrics exporter beside a Locust master: serves the master's statistics for Prometheus.

Takes the exporter's two variables: LOCUST_EXPORTER_URI, the web interface of the master, and
LOCUST_EXPORTER_WEB_LISTEN_ADDRESS, such as `:9646`.
"""

import json
import os
import signal
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MASTER = os.environ["LOCUST_EXPORTER_URI"]
PORT = int(os.environ["LOCUST_EXPORTER_WEB_LISTEN_ADDRESS"].rpartition(":")[2])


def metrics():
    try:
        with urllib.request.urlopen(f"{MASTER}/stats/requests", timeout=2) as answer:
            stats = json.load(answer)
    except OSError:
        return "locust_up 0\n"
    requests = sum(s["num_requests"] for s in stats["stats"] if s["name"] != "Aggregated")
    return f"locust_up 1\nlocust_users {stats['user_count']}\nlocust_requests_num_requests {requests}\n"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = metrics().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


# The first process of a container ends by no signal that it does not handle.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", PORT), Handler).serve_forever()
