#!/bin/sh
# Writes the rules of grafana/prometheus as Prometheus' operator takes them:
#   sh examples/kubernetes/rules.sh | kubectl apply -f -
set -eu
cd "$(dirname "$0")/../../grafana/prometheus"
for rules in recording alerts; do
	echo "---"
	echo "apiVersion: monitoring.coreos.com/v1"
	echo "kind: PrometheusRule"
	echo "metadata: { name: heori-$rules, namespace: heori }"
	echo "spec:"
	sed 's/^/  /' "$rules.yml"
done
