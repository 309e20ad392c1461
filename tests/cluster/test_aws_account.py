"""Ray's own code with cluster/aws.yaml, in a simulated AWS account as cluster/aws_stack.yaml creates it."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from ray.autoscaler._private.aws import utils
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _clear_provider_cache, _get_node_provider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_USER_NODE_TYPE,
)

from cluster.local.ports import free_port
from tests.support.cluster.autoscaler_files import AWS, CLUSTER, Config, fill, filled, options, read, start

REGION = "us-west-2"
HOME_OF_ONE = "203.0.113.7/32"
EVERYONE = ("0.0.0.0/0", "::/0")
TEMPLATE = yaml.safe_load((CLUSTER / "aws_stack.yaml").read_text())
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start an AWS simulator, and give Ray a home for its SSH key."""
    port = free_port()
    variables = {
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": REGION,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    urllib.request.urlopen(f"{variables['AWS_ENDPOINT_URL']}/moto-api/reset", data=b"", timeout=60).close()
    try:
        yield
    finally:
        server.stop()
        for cached in (utils.resource_cache, utils.client_cache):
            cached.cache_clear()
        _clear_provider_cache()


def make_account() -> str:
    """Create the stack's resources that `ray up` uses, from the template; return the id of the security group."""
    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    wanted = RESOURCES["SecurityGroup"]["Properties"]
    group = ec2.create_security_group(GroupName="nodes", Description=wanted["GroupDescription"], VpcId=vpc)["GroupId"]
    for rule in wanted["SecurityGroupIngress"]:
        assert rule["CidrIp"] == {"Ref": "SshFrom"}
        permission = {"IpRanges": [{"CidrIp": HOME_OF_ONE}], **ports_of(rule)}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    for rule in rules_among_nodes():
        permission = {"UserIdGroupPairs": [{"GroupId": group}], **ports_of(rule)}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    for profile in ("WorkerProfile", "HeadProfile"):
        iam.create_instance_profile(InstanceProfileName=RESOURCES[profile]["Properties"]["InstanceProfileName"])
    return str(group)


def rules_among_nodes() -> list[Config]:
    rules = [found["Properties"] for found in RESOURCES.values() if found["Type"] == "AWS::EC2::SecurityGroupIngress"]
    own = {"Fn::GetAtt": ["SecurityGroup", "GroupId"]}
    assert all(rule["GroupId"] == rule["SourceSecurityGroupId"] == own for rule in rules)
    return rules


def ports_of(rule: Config) -> Config:
    return {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort")}


def bootstrapped(**changes: str) -> Config:
    ami = boto3.client("ec2").describe_images()["Images"][0]["ImageId"]
    config = yaml.safe_load(fill(read("aws"), {**AWS, "REGION": REGION, "AMI": ami, **changes}))
    result: Config = _bootstrap_config(config, no_config_cache=True)
    return result


def placed_in_account(config: Config) -> Config:
    """Return a config like `bootstrapped`, without one request for each of a thousand machine types."""
    result: Config = bootstrap_aws(prepare_config(config))
    return result


def open_to(cidrs: tuple[str, ...]) -> list[str]:
    """Return the security groups that are open to any of these addresses."""
    groups = boto3.client("ec2").describe_security_groups()["SecurityGroups"]
    ranges = {
        group["GroupName"]: {one["CidrIp"] for rule in group["IpPermissions"] for one in rule["IpRanges"]}
        for group in groups
    }
    return [name for name, found in ranges.items() if found & set(cidrs)]


@pytest.mark.slow
def test_ray_starts_head_and_spot_workers_and_creates_no_security_group(aws: None) -> None:
    group = make_account()
    config = bootstrapped(SECURITY_GROUP=group)
    gpu = config["available_node_types"]["gpu"]["resources"]
    assert (gpu["CPU"], gpu["GPU"], gpu["accelerator_type:L4"]) == (4, 1, 1)
    assert config["head_node"] == {}  # otherwise Ray would create a role with all rights over EC2 and S3
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    ec2 = boto3.client("ec2")
    for kind, node_kind in (("head", NODE_KIND_HEAD), ("gpu", NODE_KIND_WORKER)):
        tags = {TAG_RAY_NODE_KIND: node_kind, TAG_RAY_USER_NODE_TYPE: kind, TAG_RAY_LAUNCH_CONFIG: "a"}
        (node,) = provider.create_node(config["available_node_types"][kind]["node_config"], tags, 1)
        (instance,) = ec2.describe_instances(InstanceIds=[node])["Reservations"][0]["Instances"]
        assert [found["GroupId"] for found in instance["SecurityGroups"]] == [group]
        assert instance.get("InstanceLifecycle") == (None if kind == "head" else "spot")
        role = "head" if kind == "head" else "worker"
        assert instance["IamInstanceProfile"]["Arn"].endswith(f"/lkca-search-{role}")
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert {"Key": "ray-cluster-name", "Value": "lkca-search"} in instance["Tags"]
    assert open_to(EVERYONE) == []
    assert open_to((HOME_OF_ONE,)) == ["nodes"]


def test_a_security_group_that_ray_creates_is_open_to_everyone(aws: None) -> None:
    make_account()
    config = filled("aws")
    for kind in config["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
    placed_in_account(config)
    assert open_to(EVERYONE) == ["ray-autoscaler-lkca-search"]


def test_without_a_security_group_ray_up_fails_before_it_creates_anything(
    aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    make_account()
    with pytest.raises(AssertionError):
        placed_in_account(yaml.safe_load(read("aws").replace("REGION", REGION)))
    printed = capsys.readouterr()
    assert "Failed to detect a security group" in printed.out + printed.err
    assert boto3.client("ec2").describe_instances()["Reservations"] == []


def test_rays_ports_are_open_between_nodes_only() -> None:
    among = sorted((rule["FromPort"], rule["ToPort"]) for rule in rules_among_nodes())
    head = options(start("aws", "head"))
    workers = (int(head["min-worker-port"]), int(head["max-worker-port"]))
    assert among == [(22, 22), (int(head["port"]), int(head["dashboard-agent-listen-port"])), workers]
    (outside,) = RESOURCES["SecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert (outside["FromPort"], outside["ToPort"]) == (22, 22)
    assert "Default" not in TEMPLATE["Parameters"]["SshFrom"]


@pytest.mark.parametrize(
    ("cidr", "is_taken"),
    [("203.0.113.7/32", True), ("198.51.100.0/24", True), ("0.0.0.0/0", False), ("10.0.0.0/8", False), ("CIDR", False)],
)
def test_the_stack_refuses_wide_address_ranges_for_ssh(cidr: str, is_taken: bool) -> None:

    assert bool(re.fullmatch(TEMPLATE["Parameters"]["SshFrom"]["AllowedPattern"], cidr)) == is_taken


def statements(role: str) -> list[Config]:
    node = RESOURCES["NodePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    own = RESOURCES[role]["Properties"].get("Policies", [])
    return [*node, *(statement for policy in own for statement in policy["PolicyDocument"]["Statement"])]


def actions(role: str) -> set[str]:
    listed = [statement["Action"] for statement in statements(role)]
    return {action for some in listed for action in ([some] if isinstance(some, str) else some)}


def test_a_worker_may_only_read_the_image_and_the_token_and_write_searches() -> None:
    assert {action.split(":")[0] for action in actions("WorkerRole")} == {"ecr", "s3", "secretsmanager"}
    (secret,) = [one["Resource"] for one in statements("WorkerRole") if "secretsmanager" in one["Action"]]
    assert secret["Fn::Sub"].endswith(":secret:lkca-search/ray-token-*")


def test_the_head_may_only_manage_machines_of_its_own_cluster() -> None:
    ec2 = {action for action in actions("HeadRole") if action.startswith(("ec2:", "iam:"))}
    assert ec2 == {"ec2:Describe*", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances", "iam:PassRole"}
    for statement in statements("HeadRole"):
        named = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not any(action.endswith(":*") or action == "*" for action in named)
        if statement["Resource"] == "*":
            assert set(named) <= {"ec2:Describe*", "ec2:RunInstances", "ecr:GetAuthorizationToken"}
        if "ec2:TerminateInstances" in named:
            assert statement["Condition"]["StringEquals"] == {"aws:ResourceTag/ray-cluster-name": "lkca-search"}


def test_bucket_and_registry_outlive_the_stack() -> None:
    for kept in ("Bucket", "Repository"):
        assert RESOURCES[kept]["DeletionPolicy"] == RESOURCES[kept]["UpdateReplacePolicy"] == "Retain"
    blocks = RESOURCES["Bucket"]["Properties"]["PublicAccessBlockConfiguration"]
    assert len(blocks) == 4
    assert all(blocks.values())
