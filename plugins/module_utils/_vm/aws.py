# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2, its Auto Scaling groups and EKS, through boto3: AWS' own client, which knows every way to log in there."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from .._call import Failure
from .._plan.vm import aws
from .._plan.vm.node import Call

Json = dict[str, Any]

# How long AWS may take to show what it has accepted.
_SHOWN_SECONDS = 60.0
_PAUSE_SECONDS = 2.0


class Aws:
    """The clients of one region."""

    def __init__(self, region: str, profile: str, endpoint_url: str) -> None:
        try:
            import boto3  # noqa: PLC0415  # only who has VMs there needs it
            import botocore.config  # noqa: PLC0415
            import botocore.exceptions  # noqa: PLC0415
        except ImportError as error:
            raise Failure(
                f"the Python package boto3 cannot be imported by {sys.executable} ({error}). Nothing was changed. Install it there: {sys.executable} -m pip "
                "install boto3. On the controller that is the Python of ansible-playbook"
            ) from error
        self._errors = botocore.exceptions
        config = botocore.config.Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
        with self._told("log in"):
            session = boto3.session.Session(profile_name=profile or None, region_name=region or None)
            self.ec2, self.groups, self.eks = (
                session.client(service, config=config, endpoint_url=endpoint_url or None) for service in ("ec2", "autoscaling", "eks")
            )

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What AWS refuses, in one line. `passing` where nobody was reached, so that a rollout resumes by itself."""
        try:
            yield
        except (self._errors.ConnectionError, self._errors.HTTPClientError) as error:
            raise Failure(f"AWS: {what}: {error}", passing=True) from error
        except (self._errors.BotoCoreError, self._errors.ClientError) as error:
            raise Failure(f"AWS: {what}: {error}") from error

    def look(self, name: str) -> aws.Found:
        found: aws.Found = {"instance": self._instance(name), "membership": None, "group": None, "node_group": None}
        with self._told(f"read the Auto Scaling group of instance {name}"):
            members = self.groups.describe_auto_scaling_instances(InstanceIds=[name])["AutoScalingInstances"]
            if not members:
                return found
            found["membership"] = members[0]
            groups = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[members[0]["AutoScalingGroupName"]])[
                "AutoScalingGroups"
            ]
            found["group"] = groups[0] if groups else None
        cluster, node_group = (aws.tags_of(found["group"]).get(key) for key in aws.GROUP_OF_EKS)
        if cluster and node_group:
            with self._told(f"read EKS node group {cluster}/{node_group}"):
                found["node_group"] = self.eks.describe_nodegroup(clusterName=cluster, nodegroupName=node_group)["nodegroup"]
        return found

    def _instance(self, name: str) -> Json | None:
        with self._told(f"read instance {name}"):
            try:
                reservations = self.ec2.describe_instances(InstanceIds=[name])["Reservations"]
            except self._errors.ClientError as error:
                if error.response["Error"]["Code"] == "InvalidInstanceID.NotFound":
                    return None
                raise
            return next((dict(instance) for entry in reservations for instance in entry["Instances"]), None)

    def do(self, call: Call) -> None:
        name = call.options["instance"]
        with self._told(call.text):
            if call.does == "reboot":
                self.ec2.reboot_instances(InstanceIds=[name])
            elif call.does == "tag":
                self.ec2.create_tags(Resources=[name], Tags=[{"Key": call.options["tag"], "Value": call.options["value"]}])
            elif call.does == "detach":
                self.groups.detach_instances(
                    InstanceIds=[name], AutoScalingGroupName=call.options["group"], ShouldDecrementDesiredCapacity=False
                )
            elif call.does == "end":
                self.ec2.terminate_instances(InstanceIds=[name])
            else:
                self.groups.terminate_instance_in_auto_scaling_group(InstanceId=name, ShouldDecrementDesiredCapacity=False)
                self._goes(name)

    def _goes(self, name: str) -> None:
        """Accepted is not begun: until the group, or EC2, shows that the instance goes."""
        deadline = time.monotonic() + _SHOWN_SECONDS
        while True:
            members = self.groups.describe_auto_scaling_instances(InstanceIds=[name])["AutoScalingInstances"]
            if not members or not str(members[0]["LifecycleState"]).startswith("InService"):
                return
            if time.monotonic() > deadline:
                raise Failure(
                    f"AWS: instance {name} is InService {_SHOWN_SECONDS:.0f} seconds after it was to be terminated: look at its group, then run again"
                )
            time.sleep(_PAUSE_SECONDS)
