"""Grafana dashboards, written in Python and checked in as JSON: `make dashboards` renews them.

`healthy.py`, which people see first, `models.py`, `flow.py`, `gil.py`, `locks.py`, `consumers.py`
and `notes.py` are one dashboard each, written in the words of the other modules. The folders beside
them are mounted as they are: `dashboards/` and `provisioning/` by Grafana, `prometheus/` by
Prometheus.
"""
