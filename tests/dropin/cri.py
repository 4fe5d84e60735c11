# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the Container Runtime Interface (k8s.io/cri-api, runtime.v1) with the few messages that the tests need.

The messages' descriptors are built here, from numbers and types of api.proto, so that no protoc is needed.
"""

from __future__ import annotations

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "runtime.v1"
# message: "number name type"; a type with * is repeated; a capital makes it a message.
MESSAGES = {
    "VersionRequest": "1 version string",
    "VersionResponse": "2 runtime_name string, 4 runtime_api_version string",
    "Int64Value": "1 value int64",
    "UInt64Value": "1 value uint64",
    "NamespaceOption": "1 network int32, 2 pid int32, 3 ipc int32, 4 target_id string",
    "SecurityProfile": "1 profile_type int32, 2 localhost_ref string",
    "Capability": "1 add_capabilities string*, 2 drop_capabilities string*",
    "LinuxContainerResources": "1 cpu_period int64, 2 cpu_quota int64, 4 memory_limit_in_bytes int64",
    "LinuxSandboxSecurityContext": "1 namespace_options NamespaceOption, 9 seccomp SecurityProfile",
    "LinuxPodSandboxConfig": "1 cgroup_parent string, 2 security_context LinuxSandboxSecurityContext",
    "PodSandboxMetadata": "1 name string, 2 uid string, 3 namespace string, 4 attempt uint32",
    "PodSandboxConfig": "1 metadata PodSandboxMetadata, 2 hostname string, 3 log_directory string,"
    "8 linux LinuxPodSandboxConfig",
    "RunPodSandboxRequest": "1 config PodSandboxConfig, 2 runtime_handler string",
    "RunPodSandboxResponse": "1 pod_sandbox_id string",
    "StopPodSandboxRequest": "1 pod_sandbox_id string",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "1 pod_sandbox_id string",
    "RemovePodSandboxResponse": "",
    "PodSandboxStatusRequest": "1 pod_sandbox_id string",
    "PodSandboxStatus": "1 id string, 3 state int32",
    "PodSandboxStatusResponse": "1 status PodSandboxStatus",
    "ImageSpec": "1 image string",
    "KeyValue": "1 key string, 2 value string",
    "Mount": "1 container_path string, 2 host_path string, 3 readonly bool",
    "LinuxContainerSecurityContext": "1 capabilities Capability, 3 namespace_options NamespaceOption,"
    "5 run_as_user Int64Value, 7 readonly_rootfs bool, 8 supplemental_groups int64*, 11 no_new_privs bool,"
    "15 seccomp SecurityProfile",
    "LinuxContainerConfig": "1 resources LinuxContainerResources, 2 security_context LinuxContainerSecurityContext",
    "ContainerMetadata": "1 name string, 2 attempt uint32",
    "ContainerConfig": "1 metadata ContainerMetadata, 2 image ImageSpec, 3 command string*, 4 args string*,"
    "5 working_dir string, 6 envs KeyValue*, 7 mounts Mount*, 11 log_path string, 14 tty bool,"
    "15 linux LinuxContainerConfig",
    "CreateContainerRequest": "1 pod_sandbox_id string, 2 config ContainerConfig, 3 sandbox_config PodSandboxConfig",
    "CreateContainerResponse": "1 container_id string",
    "StartContainerRequest": "1 container_id string",
    "StartContainerResponse": "",
    "StopContainerRequest": "1 container_id string, 2 timeout int64",
    "StopContainerResponse": "",
    "RemoveContainerRequest": "1 container_id string",
    "RemoveContainerResponse": "",
    "ContainerStatusRequest": "1 container_id string",
    "ContainerStatus": "1 id string, 3 state int32, 7 exit_code int32, 10 reason string, 11 message string",
    "ContainerStatusResponse": "1 status ContainerStatus",
    "UpdateContainerResourcesRequest": "1 container_id string, 2 linux LinuxContainerResources",
    "UpdateContainerResourcesResponse": "",
    "ExecSyncRequest": "1 container_id string, 2 cmd string*, 3 timeout int64",
    "ExecSyncResponse": "1 stdout bytes, 2 stderr bytes, 3 exit_code int32",
    "MemoryUsage": "2 working_set_bytes UInt64Value",
    "ContainerStats": "3 memory MemoryUsage",
    "ContainerStatsRequest": "1 container_id string",
    "ContainerStatsResponse": "1 stats ContainerStats",
}
CREATED, RUNNING, EXITED = 0, 1, 2  # ContainerState
POD, CONTAINER, NODE = 0, 1, 2  # NamespaceMode
READY = 0  # PodSandboxState
RUNTIME_DEFAULT, UNCONFINED = 0, 1  # ProfileType


def message_classes():
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="dropin-cri.proto", package=PACKAGE, syntax="proto3")
    for name, described in MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in filter(None, (part.strip() for part in described.split(","))):
            number, label, kind = line.split()
            added = message.field.add(name=label, number=int(number), label=field.LABEL_OPTIONAL)
            if kind.endswith("*"):
                kind, added.label = kind[:-1], field.LABEL_REPEATED
            if kind[0].isupper():
                added.type, added.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                added.type = getattr(field, "TYPE_" + kind.upper())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{PACKAGE}.{name}")) for name in MESSAGES}


class Cri:
    """cri.ExecSync(container_id=..., cmd=[...]) calls the method of that name and gives its response."""

    def __init__(self, socket):
        self.classes = message_classes()
        # The peer's name would otherwise be the socket's path, which no server accepts as a host.
        self.channel = grpc.insecure_channel(f"unix://{socket}", options=[("grpc.default_authority", "localhost")])

    def __getattr__(self, method):
        request, response = self.classes[method + "Request"], self.classes[method + "Response"]
        path = f"/{PACKAGE}.RuntimeService/{method}"
        call = self.channel.unary_unary(
            path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return lambda **fields: call(request(**fields), timeout=25)
