"""Holds what rules, their tests and the dashboard ask for against what a Prometheus has scraped of a real farm.

Every expression must be one; every metric must be there; every label must be one of its metric; and every value of a
label must have been seen, or be a word that the program can say.
"""

import json
import pathlib
import re
import sys
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS = sys.argv[1]
# Labels that Prometheus or Grafana give.
GIVEN = {"job", "instance", "le", "alertname", "alertstate"}
# Where the program has its words.
WORDS = ["coordinator/core/src/view.rs", "coordinator/core/src/failure.rs", "cli/telemetry/otlp.rs"]
problems = []


def ask(path, **parameters):
    url = f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as refused:
        raise ValueError(json.load(refused)["error"]) from None


def expressions():
    """Each as (where, expression)."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    tests = yaml.safe_load((ROOT / "deploy/prometheus/alerts_test.yml").read_text())
    for test in tests["tests"]:
        for series in test["input_series"]:
            yield f"test '{test['name']}'", series["series"]
    board = json.loads((ROOT / "deploy/grafana/croft.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield f"panel '{panel['title']}'", target["expr"]
    for variable in board["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
        if asked:
            yield f"variable '{variable['name']}'", f"count by ({asked[2]}) ({asked[1]})"


def can_be_said(value, said=" ".join((ROOT / file).read_text() for file in WORDS)):
    camel = "".join(part.capitalize() for part in value.split("_"))
    return f'"{value}"' in said or re.search(rf"\b{camel}\b", said)


scraped = set(ask("label/__name__/values"))
labels = {}


def labels_of(metric):
    if metric not in labels:
        found = labels[metric] = {}
        for series in ask("series", **{"match[]": metric}):
            for label, value in series.items():
                found.setdefault(label, set()).add(value)
    return labels[metric]


asked_of = set()
for where, text in expressions():
    # As Grafana fills them in.
    text = re.sub(r"\$__(rate_interval|range)\b", "5m", text).replace("$show", ".*")
    try:
        ask("query", query=text)
    except ValueError as wrong:
        problems.append(f"{where}: {wrong}")
        continue
    bare = re.sub(r'"[^"]*"', '""', text)
    metrics = set(re.findall(r"\b(?:croft|etcd)_\w+", bare))
    asked_of |= metrics
    for metric in sorted(metrics - scraped):
        problems.append(f"{where}: no {metric} was scraped")
    known = {label for metric in metrics & scraped for label in labels_of(metric)} | GIVEN
    for grouping in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", bare):
        for label in filter(None, (part.strip() for part in grouping.split(","))):
            if label not in known:
                problems.append(f"{where}: no label {label}")
    for metric, matchers in re.findall(r"(\w+)\{([^}]*)\}", text):
        for label, value in re.findall(r'(\w+)\s*[=!]~?\s*"([^"]*)"', matchers):
            if label in GIVEN or metric not in scraped:
                continue
            seen = labels_of(metric).get(label)
            if seen is None:
                problems.append(f"{where}: {metric} has no label {label}")
            elif label in {"state", "reason", "cause", "outcome"}:
                wrong = [word for word in value.split("|") if word not in seen and not can_be_said(word)]
                problems += [f"{where}: {metric} never says {label}={word}" for word in wrong]

print("\n".join(problems) or f"{len(asked_of)} metrics are asked for, and all are there")
sys.exit(bool(problems))
