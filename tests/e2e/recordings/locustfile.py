"""What the tests of the recordings do: like any test, or, as WAY says, something that ends badly."""

import os

from locust import HttpUser, constant, task

WAY = os.environ.get("WAY")

if WAY == "exit":
    raise SystemExit(3)


class User(HttpUser):
    wait_time = constant(0.2)
    kept = []

    @task
    def ask(self):
        if WAY == "fail":
            self.client.get("/nothing")
        elif WAY == "memory":
            self.kept.append(b"x" * 50_000_000)
        self.client.get("/")
