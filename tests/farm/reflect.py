"""Prints the services a server reflects, the fields of one message, and its health."""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

with grpc.insecure_channel(sys.argv[1]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    for service in database.get_services():
        print(service)
    request = DescriptorPool(database).FindMessageTypeByName("croft.v1.CreateJobRequest")
    print("fields:", ", ".join(field.name for field in request.fields))
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    print("health:", health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
