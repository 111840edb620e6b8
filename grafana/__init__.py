"""Grafana dashboards, written in Python and checked in as JSON: `make dashboards` renews them.

`panels.py` is the vocabulary, and each other module is one dashboard. The folders beside them are
mounted as they are: `dashboards/` and `provisioning/` by Grafana, `prometheus/` by Prometheus.
"""
