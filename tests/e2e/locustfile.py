"""What the tests of the runs do: each user asks the target five times a second, and says who it is and where."""

import os
import socket
import uuid

from locust import HttpUser, constant, task


class User(HttpUser):
    wait_time = constant(0.2)

    def on_start(self):
        self.me = {"user": uuid.uuid4().hex, "pod": socket.gethostname()}

    @task
    def ask(self):
        self.client.get(os.environ.get("ASK", "/"), params=self.me, name="ask")
