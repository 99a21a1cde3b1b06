"""Reads a page of OpenMetrics as Prometheus' own parser does: one line of JSON a sample."""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=10) as page:
    assert page.headers["Content-Type"].startswith("application/openmetrics-text"), page.headers["Content-Type"]
    text = page.read().decode()
for family in text_string_to_metric_families(text):
    for sample in family.samples:
        print(json.dumps({
            "family": family.name, "type": family.type, "unit": family.unit, "help": family.documentation,
            "name": sample.name, "labels": sample.labels, "value": sample.value,
        }))
