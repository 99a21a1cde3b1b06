#!/usr/bin/env python3
"""Submit a job to a Croft coordinator, follow it, and fetch what it made.

    pip install -r examples/requirements.txt
    python examples/submit.py examples/shot.yaml --out out/shot

    python examples/submit.py examples/shot.yaml --coordinator farm:7400 --identity ~/.config/croft/identity

It is written to be copied from: the stubs are made from the protos when it starts, so that it runs from a
checkout as it is. Exit codes are those of the command line: 0 done, 3 spec refused, 5 denied, 6 unreachable,
7 job failed.
"""

import argparse
import importlib
import os
import sys
import tempfile
import uuid
from pathlib import Path

import grpc
import grpc_tools
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent.parent / "proto"
SETTLED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def make_stubs(folder):
    """Python modules for croft.v1, made by grpcio-tools from the protos of this checkout."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("croft/v1/*.proto"))
    well_known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    failed = protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", f"--python_out={folder}",
                          f"--grpc_python_out={folder}", *sources])
    if failed:
        sys.exit("protoc could not read the protos")
    sys.path.insert(0, folder)
    names = ("jobs_pb2", "jobs_pb2_grpc", "artifacts_pb2", "artifacts_pb2_grpc", "types_pb2")
    return {name: importlib.import_module(f"croft.v1.{name}") for name in names}


def connect(args):
    """A channel: TLS with a certificate on both sides, or plaintext to this machine where there is none."""
    folder = args.identity
    files = [args.ca or folder and folder / "ca.pem", args.key or folder and folder / "key.pem",
             args.cert or folder and folder / "cert.pem"]
    if not any(files):
        return grpc.insecure_channel(args.coordinator)
    if not all(files):
        sys.exit("--ca, --cert and --key go together; or give --identity DIR")
    return grpc.secure_channel(args.coordinator, grpc.ssl_channel_credentials(*[file.read_bytes() for file in files]))


def name_of(message, field):
    """An enum field's value as the proto writes it."""
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def problems_of(error):
    """Every field violation of a refused spec; the message alone where there are none."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return [f"{v.field}: {v.description}" for v in bad.field_violations]
    return [error.details()]


def follow(jobs, pb, name):
    """Prints progress until the job settles, and gives it as it was then. A broken stream is resumed."""
    token = ""
    while True:
        try:
            for event in jobs.WatchJob(pb.WatchJobRequest(name=name, resume_token=token)):
                token = event.resume_token
                what = event.WhichOneof("what")
                if what == "progress":
                    p = event.progress
                    stage = name_of(p, "stage").removeprefix("STAGE_").lower()
                    step = f" {p.step}/{p.steps}" if p.steps else ""
                    print(f"  {p.device}  {p.label}  {stage}{step}", flush=True)
                elif what == "task" and event.task.state in (pb.TASK_STATE_SUCCEEDED, pb.TASK_STATE_FAILED):
                    state = name_of(event.task, "state").removeprefix("TASK_STATE_").lower()
                    print(f"{event.task.name}  {state}", flush=True)
                elif what == "job" and name_of(event.job, "state") in SETTLED:
                    return event.job
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or not token:
                raise


def fetch(artifacts, pb, name, folder):
    """Writes the job's published files under `folder`; a file appears under its name only when it is whole."""
    token, count = "", 0
    while True:
        page = artifacts.ListArtifacts(pb.ListArtifactsRequest(parent=name, page_token=token))
        for artifact in page.artifacts:
            path = folder / artifact.path
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                for chunk in artifacts.GetArtifact(pb.GetArtifactRequest(path=artifact.path)):
                    file.write(chunk.data)
            if part.stat().st_size != artifact.size_bytes:
                sys.exit(f"{artifact.path}: {part.stat().st_size} bytes came, {artifact.size_bytes} were promised")
            part.replace(path)
            count += 1
        token = page.next_page_token
        if not token:
            return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path, help="the job spec, YAML or JSON")
    parser.add_argument("--coordinator", default=os.environ.get("CROFT_COORDINATOR", "127.0.0.1:7400"))
    parser.add_argument("--identity", type=Path, metavar="DIR", help="a folder with ca.pem, cert.pem and key.pem")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the farm's authority (PEM)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="your certificate (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="laid over the spec")
    parser.add_argument("--request-id", default=str(uuid.uuid4()), help="the same id gives the same job")
    parser.add_argument("--out", type=Path, help="fetch what the job made into this folder")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, connect(args) as channel:
        pb = make_stubs(folder)
        jobs = pb["jobs_pb2_grpc"].JobsStub(channel)
        try:
            request = pb["jobs_pb2"].CreateJobRequest(
                spec=args.spec.read_text(), spec_name=args.spec.name, request_id=args.request_id, set=args.set)
            job = jobs.CreateJob(request)
            counts = job.counts
            tasks = counts.waiting + counts.queued + counts.running + counts.succeeded + counts.failed + counts.cancelled
            print(f"{job.name}  {tasks} tasks", flush=True)
            job = follow(jobs, pb["jobs_pb2"], job.name)
            if args.out:
                artifacts = pb["artifacts_pb2_grpc"].ArtifactsStub(channel)
                count = fetch(artifacts, pb["artifacts_pb2"], job.name, args.out)
                print(f"{count} files in {args.out}")
        except grpc.RpcError as error:
            codes = {grpc.StatusCode.INVALID_ARGUMENT: 3, grpc.StatusCode.UNAVAILABLE: 6,
                     grpc.StatusCode.PERMISSION_DENIED: 5, grpc.StatusCode.UNAUTHENTICATED: 5}
            for problem in problems_of(error):
                print(f"error: {problem}", file=sys.stderr)
            return codes.get(error.code(), 1)
    return 0 if name_of(job, "state") == "JOB_STATE_SUCCEEDED" else 7


if __name__ == "__main__":
    sys.exit(main())
