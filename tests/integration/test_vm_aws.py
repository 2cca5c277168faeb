# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role vm_aws with boto3 against moto's server, over HTTP; nothing of it has seen the real AWS.

moto ends an instance and makes the next one at once, in its first zone, and knows no lifecycle hook: what takes time there is in the unit tests.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import vm_aws
from support.clouds import moto, packages
from support.environments import made
from support.kube_api import KubeApi, create_node
from support.run import PlayRun
from support.vm_roles import run_role, told, vm_of

Json = dict[str, Any]
REGION = "eu-central-1"
_LOGIN = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
# In the environment of the clouds' clients: botocore cannot live beside the Kubernetes client of these tests.
_CLIENT = """\
import datetime, json, sys, boto3
service, call, options = json.load(sys.stdin)
client = boto3.client(service, region_name=sys.argv[1], endpoint_url=sys.argv[2])
json.dump(getattr(client, call)(**options), sys.stdout, default=str)
"""


class Account:
    """An account in moto with one Auto Scaling group of two instances, in one zone."""

    def __init__(self, url: str) -> None:
        self.url = url
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
        image = self.ask("ec2", "describe_images")["Images"][0]["ImageId"]
        template = {"ImageId": image, "InstanceType": "t3.micro"}
        self.ask("ec2", "create_launch_template", LaunchTemplateName="members", LaunchTemplateData=template)
        self.ask(
            "autoscaling",
            "create_auto_scaling_group",
            AutoScalingGroupName="members",
            LaunchTemplate={"LaunchTemplateName": "members"},
            MinSize=2,
            MaxSize=3,
            DesiredCapacity=2,
            AvailabilityZones=[f"{REGION}a"],
        )

    def ask(self, service: str, call: str, **options: Any) -> Json:
        command = [made("clouds") / "bin" / "python", "-c", _CLIENT, REGION, self.url]
        asked = json.dumps([service, call, options])
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, env={**_LOGIN, "PATH": "/usr/bin"})
        assert done.returncode == 0, done.stderr
        found: Json = json.loads(done.stdout)
        return found

    def members(self) -> list[str]:
        group = self.ask("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=["members"])["AutoScalingGroups"][0]
        return [entry["InstanceId"] for entry in group["Instances"]]

    def state(self, instance: str) -> str:
        found = self.ask("ec2", "describe_instances", InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def account(_server: str) -> Account:
    return Account(_server)


@pytest.fixture
def vm(account: Account, kube_api: KubeApi, no_nodes: None) -> Json:
    """The first instance of the group, with its Node."""
    provider = f"aws:///{REGION}a/{account.members()[0]}"
    return vm_of(kube_api, create_node(kube_api, "n1", zone=f"{REGION}a", region=REGION, provider_id=provider))


@pytest.fixture
def role(account: Account, kube_api: KubeApi) -> Callable[..., PlayRun]:
    def run(vm: Json, **options: Any) -> PlayRun:
        known = {"PYTHONPATH": packages(), **_LOGIN, **options.pop("more", {})}
        return run_role("vm_aws", [kube_api.entry], vm, environment=known, vm_aws_endpoint_url=account.url, **options)

    return run


def name_of(vm: Json) -> str:
    return str(vm["provider_id"]).rpartition("/")[2]


def test_an_instance_is_replaced_once(account: Account, vm: Json, role: Callable[..., PlayRun]) -> None:
    before, mine = account.members(), name_of(vm)
    assert told(role(vm, check=True)) == f"n1: would terminate instance {mine} in Auto Scaling group members, which makes another one"
    assert account.members() == before
    run = role(vm)
    assert run.changed, run.output
    after = account.members()
    assert account.state(mine) in ("shutting-down", "terminated")
    assert (len(after), mine in after) == (2, False)
    again = role(vm)
    assert not again.changed, again.output
    assert told(again).startswith(f"n1: instance {mine} is ")
    assert account.members() == after


def test_surge_detaches_and_then_ends(account: Account, vm: Json, role: Callable[..., PlayRun]) -> None:
    mine = name_of(vm)
    assert role({**vm, "action": "add"}).changed
    after = account.members()
    assert (len(after), mine in after, account.state(mine)) == (2, False, "running")
    assert not role({**vm, "action": "add"}).changed
    assert account.members() == after
    assert role({**vm, "action": "remove"}).changed
    assert account.state(mine) in ("shutting-down", "terminated")
    assert not role({**vm, "action": "remove"}).changed
    assert account.members() == after


def test_a_kill_between_tag_and_detach(account: Account, vm: Json, role: Callable[..., PlayRun]) -> None:
    tag = {"Key": "hostnet.multicluster/detached-for", "Value": vm["node_uid"]}
    account.ask("ec2", "create_tags", Resources=[name_of(vm)], Tags=[tag])
    assert role({**vm, "action": "add"}).changed
    assert name_of(vm) not in account.members()


def test_an_instance_is_rebooted(account: Account, vm: Json, role: Callable[..., PlayRun]) -> None:
    assert role({**vm, "action": "reboot"}).changed
    assert account.state(name_of(vm)) == "running"
    assert not role({**vm, "action": "reboot", "boot_id": "before"}).changed


def test_refused_before_any_change(account: Account, vm: Json, role: Callable[..., PlayRun]) -> None:
    before, mine = account.members(), name_of(vm)

    def refused(says: str, asked: Json = vm, **options: Any) -> None:
        run = role(asked, **options)
        assert run.rc != 0, run.output
        assert says in told(run)
        assert account.members() == before

    group = {"AutoScalingGroupName": "members"}
    account.ask("autoscaling", "set_instance_protection", **group, InstanceIds=[mine], ProtectedFromScaleIn=True)
    refused(f"instance {mine} is protected from scale-in")
    account.ask("autoscaling", "set_instance_protection", **group, InstanceIds=[mine], ProtectedFromScaleIn=False)
    account.ask("autoscaling", "suspend_processes", **group, ScalingProcesses=["Launch"])
    refused("has suspended Launch")
    account.ask("autoscaling", "resume_processes", **group, ScalingProcesses=["Launch"])
    refused("by now, and the member's had 0815", {**vm, "node_uid": "0815"})
    refused("its Node has provider id", {**vm, "provider_id": "gce://p/z/n"})
    refused("boto3 cannot be imported", more={"PYTHONPATH": ""})
    refused("AWS: log in: The config profile (other) could not be found", vm_aws_profile="other")
    refused("AWS: read instance", more={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})


def test_an_instance_of_no_group(account: Account, kube_api: KubeApi, no_nodes: None, role: Callable[..., PlayRun]) -> None:
    image = account.ask("ec2", "describe_images")["Images"][0]["ImageId"]
    alone = account.ask("ec2", "run_instances", ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    node = create_node(kube_api, "n3", zone=f"{REGION}a", region=REGION, provider_id=f"aws:///{REGION}a/{alone}")
    assert "is in no Auto Scaling group, so no other one would come" in told(role(vm_of(kube_api, node)))
    assert account.state(alone) == "running"


def test_vm_aws_examples(account: Account, kube_api: KubeApi, vm: Json, run_tasks: Callable[..., PlayRun]) -> None:
    known = {"hostnet_kube_clusters": [kube_api.entry], "hostnet_vm": vm}
    where = {"PYTHONPATH": packages(), **_LOGIN, "AWS_ENDPOINT_URL": account.url}
    run = run_tasks(yaml.safe_load(vm_aws.EXAMPLES), variables=known, environment=where)
    assert run.changed, run.output
    assert name_of(vm) not in account.members()
