"""An application that has packages of the names which Heori's repository has, too."""

import importlib
import json

from heori import Mutex, Producer, RedisExecutor

PACKAGES = ("common", "consumer", "producer", "tests", "benchmarks", "grafana")


def main() -> None:
    modules = [importlib.import_module(f"{package}.jobs") for package in PACKAGES]
    with Producer() as producer:
        submitted = [producer.submit(module.where).result(60) for module in modules]
    with RedisExecutor() as executor:
        executed = [executor.submit(module.where).result(60) for module in modules]
    with Mutex("application") as lock:
        held = lock.statistics().locked
    print(json.dumps({"submitted": submitted, "executed": executed, "held": held}))


if __name__ == "__main__":
    main()
