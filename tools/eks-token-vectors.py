#!/usr/bin/env python3
"""Makes server/src/gateway/kube/eks/token-vectors.json: tokens for EKS clusters and signed DescribeCluster
requests at fixed times, by botocore, as `aws eks get-token` makes them. Run it with the Python of
tools/need-moto.sh; the keys are AWS' published examples or made up."""

import base64
import datetime
import json
import sys
from unittest import mock

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.signers import RequestSigner

CASES = [
    {
        "name": "keys without a session",
        "cluster": "prod",
        "region": "us-east-1",
        "dns_suffix": "amazonaws.com",
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY",
        "session_token": None,
        "time": 1767225600,
    },
    {
        "name": "temporary keys, whose session token needs escapes",
        "cluster": "prod-eu.west_1",
        "region": "eu-west-1",
        "dns_suffix": "amazonaws.com",
        "access_key_id": "ASIAIOSFODNN7EXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY",
        "session_token": "FwoGZXIvYXdzE+//abc/def==+&= %2F~",
        "time": 1798761599,
    },
    {
        "name": "China, another suffix",
        "cluster": "a",
        "region": "cn-north-1",
        "dns_suffix": "amazonaws.com.cn",
        "access_key_id": "ASIA0000000000EXAMPLE",
        "secret_access_key": "secret+with/slashes=",
        "session_token": "IQoJb3JpZ2luX2VjEXAMPLE" * 40,
        "time": 1772323200,
    },
    {
        "name": "GovCloud, on a leap day",
        "cluster": "Z" * 100,
        "region": "us-gov-west-1",
        "dns_suffix": "amazonaws.com",
        "access_key_id": "AKIAI44QH8DHBEXAMPLE",
        "secret_access_key": "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        "session_token": None,
        "time": 1835395200,
    },
]


def fixed_clock(seconds):
    now = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)
    return mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: now)


def make(case):
    credentials = Credentials(case["access_key_id"], case["secret_access_key"], case["session_token"])
    signer = RequestSigner(
        botocore.model.ServiceId("STS"),
        case["region"],
        "sts",
        "v4",
        credentials,
        botocore.session.get_session().get_component("event_emitter"),
    )
    request = {
        "method": "GET",
        "url": f"https://sts.{case['region']}.{case['dns_suffix']}/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": case["cluster"]},
        "context": {},
    }
    with fixed_clock(case["time"]):
        url = signer.generate_presigned_url(
            request, region_name=case["region"], expires_in=60, operation_name=""
        )
        describe_url = f"https://eks.{case['region']}.{case['dns_suffix']}/clusters/{case['cluster']}"
        describe = AWSRequest(method="GET", url=describe_url)
        botocore.auth.SigV4Auth(credentials, "eks", case["region"]).add_auth(describe)
    token = "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
    signed = {"url": describe_url, "authorization": describe.headers["Authorization"]}
    return {**case, "token": token, "describe": signed}


json.dump([make(case) for case in CASES], sys.stdout, indent=2)
print()
