# Copyright: (c) 2026, the ocilab.hosts authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the ocilab.hosts collection: no promise of stability to anybody else.
"""The messages of the Container Runtime Interface that we use, as protobuf.py reads them.

Numbers, names and types are those of k8s.io/cri-api, pkg/apis/runtime/v1/api.proto, package runtime.v1.
"""

from __future__ import annotations

IMAGE_METHODS = ("ListImages", "ImageStatus", "ImageFsInfo", "PullImage", "RemoveImage")  # of runtime.v1.ImageService
POD, CONTAINER, NODE = 0, 1, 2  # NamespaceMode
READY, NOT_READY = 0, 1  # PodSandboxState
CREATED, RUNNING, EXITED, UNKNOWN = 0, 1, 2, 3  # ContainerState
TCP, UDP, SCTP = 0, 1, 2  # Protocol
CGROUP_DRIVERS = ("systemd", "cgroupfs")  # CgroupDriver
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = 0, 1, 2  # SecurityProfile.ProfileType

MESSAGES = {
    "VersionRequest": "1 version string",
    "VersionResponse": "1 version string, 2 runtime_name string, 3 runtime_version string,4 runtime_api_version string",
    "StatusRequest": "1 verbose bool",
    "StatusResponse": "1 status RuntimeStatus, 2 info map, 3 runtime_handlers RuntimeHandler*",
    "RuntimeHandler": "1 name string",
    "RuntimeStatus": "1 conditions RuntimeCondition*",
    "RuntimeCondition": "1 type string, 2 status bool, 3 reason string, 4 message string",
    "RuntimeConfigRequest": "",
    "RuntimeConfigResponse": "1 linux LinuxRuntimeConfiguration",
    "LinuxRuntimeConfiguration": "1 cgroup_driver int32",
    # Images
    "ImageSpec": "1 image string, 2 annotations map",
    "ImageFilter": "1 image ImageSpec",
    "Image": "1 id string, 2 repo_tags string*, 3 repo_digests string*, 4 size uint64, 5 uid Int64Value,"
    "6 username string, 8 pinned bool",
    "AuthConfig": "1 username string, 2 password string, 3 auth string, 4 server_address string,"
    "5 identity_token string, 6 registry_token string",
    "ListImagesRequest": "1 filter ImageFilter",
    "ListImagesResponse": "1 images Image*",
    "ImageStatusRequest": "1 image ImageSpec, 2 verbose bool",
    "ImageStatusResponse": "1 image Image, 2 info map",
    "PullImageRequest": "1 image ImageSpec, 2 auth AuthConfig, 3 sandbox_config PodSandboxConfig",
    "PullImageResponse": "1 image_ref string",
    "RemoveImageRequest": "1 image ImageSpec",
    "RemoveImageResponse": "",
    "FilesystemIdentifier": "1 mountpoint string",
    "FilesystemUsage": "1 timestamp int64, 2 fs_id FilesystemIdentifier, 3 used_bytes UInt64Value",
    "ImageFsInfoRequest": "",
    "ImageFsInfoResponse": "1 image_filesystems FilesystemUsage*",
    # What pods and containers are to be like
    "Int64Value": "1 value int64",
    "UInt64Value": "1 value uint64",
    "KeyValue": "1 key string, 2 value string",
    "DNSConfig": "1 servers string*, 2 searches string*, 3 options string*",
    "PortMapping": "1 protocol int32, 2 container_port int32, 3 host_port int32, 4 host_ip string",
    "Mount": "1 container_path string, 2 host_path string, 3 readonly bool, 4 selinux_relabel bool,5 propagation int32",
    "Device": "1 container_path string, 2 host_path string, 3 permissions string",
    "NamespaceOption": "1 network int32, 2 pid int32, 3 ipc int32, 4 target_id string",
    "SecurityProfile": "1 profile_type int32, 2 localhost_ref string",
    "Capability": "1 add_capabilities string*, 2 drop_capabilities string*, 3 add_ambient_capabilities string*",
    "LinuxContainerResources": "1 cpu_period int64, 2 cpu_quota int64, 3 cpu_shares int64,"
    "4 memory_limit_in_bytes int64, 5 oom_score_adj int64, 6 cpuset_cpus string, 7 cpuset_mems string, 9 unified map,"
    "10 memory_swap_limit_in_bytes int64",
    "LinuxSandboxSecurityContext": "1 namespace_options NamespaceOption, 3 run_as_user Int64Value,"
    "4 readonly_rootfs bool, 5 supplemental_groups int64*, 6 privileged bool, 8 run_as_group Int64Value,"
    "9 seccomp SecurityProfile, 10 apparmor SecurityProfile",
    "LinuxPodSandboxConfig": "1 cgroup_parent string, 2 security_context LinuxSandboxSecurityContext, 3 sysctls map,"
    "5 resources LinuxContainerResources",
    "PodSandboxMetadata": "1 name string, 2 uid string, 3 namespace string, 4 attempt uint32",
    "PodSandboxConfig": "1 metadata PodSandboxMetadata, 2 hostname string, 3 log_directory string,"
    "4 dns_config DNSConfig, 5 port_mappings PortMapping*, 6 labels map, 7 annotations map,"
    "8 linux LinuxPodSandboxConfig",
    "LinuxContainerSecurityContext": "1 capabilities Capability, 2 privileged bool,"
    "3 namespace_options NamespaceOption,"
    "5 run_as_user Int64Value, 6 run_as_username string, 7 readonly_rootfs bool, 8 supplemental_groups int64*,"
    "11 no_new_privs bool, 12 run_as_group Int64Value, 13 masked_paths string*, 14 readonly_paths string*,"
    "15 seccomp SecurityProfile, 16 apparmor SecurityProfile",
    "LinuxContainerConfig": "1 resources LinuxContainerResources, 2 security_context LinuxContainerSecurityContext",
    "ContainerMetadata": "1 name string, 2 attempt uint32",
    "ContainerConfig": "1 metadata ContainerMetadata, 2 image ImageSpec, 3 command string*, 4 args string*,"
    "5 working_dir string, 6 envs KeyValue*, 7 mounts Mount*, 8 devices Device*, 9 labels map, 10 annotations map,"
    "11 log_path string, 12 stdin bool, 13 stdin_once bool, 14 tty bool, 15 linux LinuxContainerConfig",
    # Pods
    "RunPodSandboxRequest": "1 config PodSandboxConfig, 2 runtime_handler string",
    "RunPodSandboxResponse": "1 pod_sandbox_id string",
    "StopPodSandboxRequest": "1 pod_sandbox_id string",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "1 pod_sandbox_id string",
    "RemovePodSandboxResponse": "",
    "PodSandboxStatusRequest": "1 pod_sandbox_id string, 2 verbose bool",
    "PodIP": "1 ip string",
    "PodSandboxNetworkStatus": "1 ip string, 2 additional_ips PodIP*",
    "PodSandboxStatus": "1 id string, 2 metadata PodSandboxMetadata, 3 state int32, 4 created_at int64,"
    "5 network PodSandboxNetworkStatus, 7 labels map, 8 annotations map, 9 runtime_handler string",
    "PodSandboxStatusResponse": "1 status PodSandboxStatus, 2 info map",
    "PodSandboxStateValue": "1 state int32",
    "PodSandboxFilter": "1 id string, 2 state PodSandboxStateValue, 3 label_selector map",
    "PodSandbox": "1 id string, 2 metadata PodSandboxMetadata, 3 state int32, 4 created_at int64, 5 labels map,"
    "6 annotations map, 7 runtime_handler string",
    "ListPodSandboxRequest": "1 filter PodSandboxFilter",
    "ListPodSandboxResponse": "1 items PodSandbox*",
    # Containers
    "CreateContainerRequest": "1 pod_sandbox_id string, 2 config ContainerConfig, 3 sandbox_config PodSandboxConfig",
    "CreateContainerResponse": "1 container_id string",
    "StartContainerRequest": "1 container_id string",
    "StartContainerResponse": "",
    "StopContainerRequest": "1 container_id string, 2 timeout int64",
    "StopContainerResponse": "",
    "RemoveContainerRequest": "1 container_id string",
    "RemoveContainerResponse": "",
    "ContainerStateValue": "1 state int32",
    "ContainerFilter": "1 id string, 2 state ContainerStateValue, 3 pod_sandbox_id string, 4 label_selector map",
    "Container": "1 id string, 2 pod_sandbox_id string, 3 metadata ContainerMetadata, 4 image ImageSpec,"
    "5 image_ref string, 6 state int32, 7 created_at int64, 8 labels map, 9 annotations map",
    "ListContainersRequest": "1 filter ContainerFilter",
    "ListContainersResponse": "1 containers Container*",
    "ContainerStatusRequest": "1 container_id string, 2 verbose bool",
    "ContainerStatus": "1 id string, 2 metadata ContainerMetadata, 3 state int32, 4 created_at int64,"
    "5 started_at int64, 6 finished_at int64, 7 exit_code int32, 8 image ImageSpec, 9 image_ref string,"
    "10 reason string, 11 message string, 12 labels map, 13 annotations map, 14 mounts Mount*, 15 log_path string",
    "ContainerStatusResponse": "1 status ContainerStatus, 2 info map",
    "UpdateContainerResourcesRequest": "1 container_id string, 2 linux LinuxContainerResources",
    "UpdateContainerResourcesResponse": "",
    "ExecSyncRequest": "1 container_id string, 2 cmd string*, 3 timeout int64",
    "ExecSyncResponse": "1 stdout bytes, 2 stderr bytes, 3 exit_code int32",
    "CpuUsage": "1 timestamp int64, 2 usage_core_nano_seconds UInt64Value",
    "MemoryUsage": "1 timestamp int64, 2 working_set_bytes UInt64Value, 4 usage_bytes UInt64Value",
    "ContainerAttributes": "1 id string",
    "ContainerStats": "1 attributes ContainerAttributes, 2 cpu CpuUsage, 3 memory MemoryUsage,"
    "4 writable_layer FilesystemUsage",
    "ContainerStatsRequest": "1 container_id string",
    "ContainerStatsResponse": "1 stats ContainerStats",
    "ListContainerStatsRequest": "",
    "ListContainerStatsResponse": "1 stats ContainerStats*",
}
