"""Holds compose.yaml, and what kustomize makes of the Kubernetes folder, to the rules that no schema knows.

Compose: who runs is no root, writes to volumes alone, has no capability, and only the coordinator has a foot outside of
internal networks. Kubernetes: every pod keeps the `restricted` standard, gets no token, and is named by a policy.
"""

import sys

import yaml

problems = []


def must(where, holds, what):
    if not holds:
        problems.append(f"{where}: {what}")


def compose(text):
    farm = yaml.safe_load(text)
    inner = {name for name, network in farm["networks"].items() if (network or {}).get("internal")}
    for name, service in farm["services"].items():
        is_setup = service.get("profiles") == ["setup"]
        must(name, service.get("read_only") is True, "its root can be written")
        must(name, service.get("cap_drop") == ["ALL"], "keeps capabilities")
        must(name, "no-new-privileges:true" in service.get("security_opt", []), "may gain privileges")
        must(name, not service.get("privileged"), "is privileged")
        must(name, is_setup or service.get("user", "0").split(":")[0] not in ("0", "root"), "runs as root")
        must(name, is_setup or "healthcheck" in service, "says nothing of its health")
        if is_setup:
            must(name, service.get("network_mode") == "none", "has a network")
            continue
        must(name, service.get("networks"), "is on the default network")
        for network in set(service.get("networks", [])) - inner:
            must(name, name == "coordinator", f"reaches the outside by '{network}'")
            options = (farm["networks"][network] or {}).get("driver_opts", {})
            masquerade = options.get("com.docker.network.bridge.enable_ip_masquerade")
            must(network, masquerade == "false", "translates addresses on the way out")
        must(name, name == "coordinator" or "ports" not in service, "is published")
        for key, value in (service.get("environment") or {}).items():
            must(name, "SECRET" not in key, f"{key} stands in the file")


def kubernetes(text):
    documents = [document for document in yaml.safe_load_all(text) if document]
    of = {}
    for document in documents:
        of.setdefault(document["kind"], []).append(document)
    labels = [n["metadata"].get("labels", {}) for n in of["Namespace"]]
    must("namespace", all(l.get("pod-security.kubernetes.io/enforce") == "restricted" for l in labels), "not restricted")
    chosen = [policy["spec"]["podSelector"] for policy in of["NetworkPolicy"]]
    must("network", any(s == {} for s in chosen), "nothing is denied by default")
    named = {s.get("matchLabels", {}).get("app.kubernetes.io/name") for s in chosen}
    for policy in of["NetworkPolicy"]:
        for rule in policy["spec"].get("egress", []):
            where = f"policy {policy['metadata']['name']}"
            must(where, rule.get("to"), "lets everything out")
            for to in rule.get("to", []):
                must(where, not to.get("ipBlock", {}).get("cidr", "").endswith("/0"), "lets everything out")
    for workload in of.get("StatefulSet", []) + of.get("Deployment", []) + of.get("DaemonSet", []):
        name, pod = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
        app = workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        context = pod.get("securityContext", {})
        must(name, app in named, "no policy names it")
        must(name, pod.get("automountServiceAccountToken") is False, "gets a token")
        must(name, context.get("runAsNonRoot") is True, "may run as root")
        must(name, context.get("seccompProfile") == {"type": "RuntimeDefault"}, "no seccomp profile")
        must(name, not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), "sees the host")
        must(name, not any("hostPath" in volume for volume in pod.get("volumes", [])), "mounts the host")
        for container in pod["containers"] + pod.get("initContainers", []):
            inner = container.get("securityContext", {})
            must(name, inner.get("allowPrivilegeEscalation") is False, "may gain privileges")
            must(name, inner.get("readOnlyRootFilesystem") is True, "its root can be written")
            must(name, inner.get("capabilities") == {"drop": ["ALL"]}, "keeps capabilities")
            must(name, "limits" in container.get("resources", {}), "takes what it likes")


{"compose": compose, "kubernetes": kubernetes}[sys.argv[1]](sys.stdin.read())
print("\n".join(problems))
sys.exit(bool(problems))
