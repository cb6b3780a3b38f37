#!/usr/bin/env python3
"""AWS for the tests of the backend eks: moto's EKS, STS and IAM in one process, with IAM's checks on, so that
a signature that is wrong, a key that is unknown and an action that no policy allows are refused as AWS does.

What moto lacks is added here: where a cluster really is (/peer/cluster), which web identity tokens are good
(/peer/identity), a check of tokens for a cluster (/peer/verify, after aws-iam-authenticator, with botocore's
signer), failures on demand (/peer/fail), and the list of what was asked (/peer/requests).

Prints one line of JSON, {"port": …, …}, and serves until its standard input ends."""

import base64
import datetime
import json
import logging
import os
import re
import sys
import threading
import time
import urllib.parse

os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from botocore.auth import SigV4QueryAuth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from moto.core.exceptions import ServiceException  # noqa: E402
from moto.eks.models import eks_backends  # noqa: E402
from moto.iam.access_control import (  # noqa: E402
    CreateAccessKeyFailure,
    IAMRequestBase,
    create_access_key,
)
from moto.iam.models import iam_backends  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sts.models import sts_backends  # noqa: E402
from moto.sts.responses import TokenResponse  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402
from werkzeug.wrappers import Request, Response  # noqa: E402

ACCOUNT = "123456789012"
REGION = "us-east-1"
CLUSTER = "prod"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/periscope"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "eks:DescribeCluster", "Resource": "*"}],
}

iam = iam_backends[ACCOUNT]["aws"]
sts = sts_backends[ACCOUNT]["aws"]
eks = eks_backends[ACCOUNT][REGION]


CODES = {
    "AccessDenied": "AccessDeniedException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}


class State:
    lock = threading.Lock()
    requests = []
    failures = {}
    identities = set()


class Refused(ServiceException):
    """An error of STS with its name."""


def user(name, policy):
    iam.create_user(REGION, name)
    if policy:
        iam.put_user_policy(name, "policy", json.dumps(policy))
    key = iam.create_access_key(name)
    return {"id": key.access_key_id, "secret": key.secret_access_key}


def role_keys(duration):
    """Temporary keys of the role, as the agent of Pod Identity gets them."""
    role = sts.assume_role(
        region_name=REGION,
        role_session_name="pod",
        role_arn=ROLE,
        policy=None,
        duration=duration,
        external_id=None,
    )
    return {
        "AccessKeyId": role.access_key_id,
        "SecretAccessKey": role.secret_access_key,
        "Token": role.session_token,
        "AccountId": ACCOUNT,
        "Expiration": role.expiration.replace(microsecond=0).isoformat().removesuffix("+00:00") + "Z",
    }


def set_up():
    eks.create_cluster(name=CLUSTER, role_arn=f"arn:aws:iam::{ACCOUNT}:role/eks", resources_vpc_config={})
    iam.create_role(
        role_name="periscope",
        assume_role_policy_document="{}",
        path="/",
        permissions_boundary=None,
        description="",
        tags=[],
        max_session_duration=3600,
    )
    iam.put_role_policy("periscope", "policy", json.dumps(POLICY))
    return {
        "arn": eks.clusters[CLUSTER].arn,
        "role": ROLE,
        "key": user("gateway", POLICY),
        "powerless": user("powerless", None),
    }


def allow_web_identity():
    """STS takes the call without a signature, and only with a token that is good now."""
    checked = TokenResponse._authenticate_and_authorize_normal_action
    assume = TokenResponse.assume_role_with_web_identity

    def authenticate(self, resource="*"):
        if self._get_action() != "AssumeRoleWithWebIdentity":
            checked(self, resource)

    def assume_checked(self):
        if self._get_param("WebIdentityToken") not in State.identities:
            raise Refused("InvalidIdentityToken", "the token hunter2 is not known")
        return assume(self)

    TokenResponse._authenticate_and_authorize_normal_action = authenticate
    TokenResponse.assume_role_with_web_identity = assume_checked


def sign_bodies_only():
    """Where a GET has no parameters, moto computes the signature over the headers as if they were its body."""
    make = IAMRequestBase._create_aws_request

    def make_with_body(self):
        self._data = None
        return make(self)

    IAMRequestBase._create_aws_request = make_with_body


def as_eks_does(environ, start_response, app):
    """EKS names its errors in a header and answers in JSON; moto's checks of IAM answer in XML."""
    answer = Response.from_app(app, environ)
    found = re.search(r"<Code>(\w+)</Code>", answer.get_data(as_text=True))
    if found:
        code = CODES.get(found[1], found[1])
        answer = Response(json.dumps({"message": "hunter2"}), status=answer.status_code, content_type="application/json")
        answer.headers["x-amzn-ErrorType"] = code + ":http://internal.amazon.com/"
    return answer(environ, start_response)


def verify(token, cluster):
    """Why a token for a cluster is not good, or None and the key it was signed with."""
    prefix = "k8s-aws-v1."
    if not token.startswith(prefix) or "=" in token:
        return "not a token of the first version", None
    encoded = token[len(prefix) :]
    url = urllib.parse.urlsplit(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    if (url.scheme, url.netloc, url.path) != ("https", f"sts.{REGION}.amazonaws.com", "/"):
        return f"not the regional STS: {url.netloc}{url.path}", None
    pairs = urllib.parse.parse_qsl(url.query, strict_parsing=True)
    query = dict(pairs)
    allowed = {
        "Action",
        "Version",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-Security-Token",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
    }
    if len(query) != len(pairs) or not set(query) <= allowed:
        return "a parameter that does not belong there", None
    if query["Action"] != "GetCallerIdentity" or not 0 < int(query["X-Amz-Expires"]) <= 900:
        return "another action, or too long", None
    if "x-k8s-aws-id" not in query["X-Amz-SignedHeaders"].split(";"):
        return "good for any cluster", None
    made = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    age = datetime.datetime.now(datetime.timezone.utc) - made
    if not -datetime.timedelta(minutes=5) < age < datetime.timedelta(minutes=15):
        return "expired", None
    key_id, _, region, service, _ = query["X-Amz-Credential"].split("/")
    session = {"X-Amz-Security-Token": query["X-Amz-Security-Token"]} if "X-Amz-Security-Token" in query else {}
    try:
        key = create_access_key(ACCOUNT, "aws", key_id, session)
    except CreateAccessKeyFailure as failure:
        return f"key {key_id}: {failure.reason}", None
    signature = query.pop("X-Amz-Signature")
    bare = url._replace(query=urllib.parse.urlencode(query, quote_via=urllib.parse.quote)).geturl()
    request = AWSRequest(method="GET", url=bare, headers={"x-k8s-aws-id": cluster})
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = SigV4QueryAuth(key.create_credentials(), service, region, expires=int(query["X-Amz-Expires"]))
    calculated = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if calculated != signature:
        return "the signature is wrong", None
    return None, key_id


def control(path, body):
    if path == "/peer/cluster":
        cluster = eks.clusters[CLUSTER]
        cluster.endpoint = body.get("endpoint", cluster.endpoint)
        cluster.arn = body.get("arn", cluster.arn)
        if "ca" in body:
            cluster.certificate_authority = {"data": body["ca"]}
        return {}
    if path == "/peer/identity":
        State.identities = set(body["good"])
        return {}
    if path == "/peer/fail":
        State.failures = body
        return {}
    if path == "/peer/keys":
        return role_keys(body["seconds"])
    if path == "/peer/revoke":
        sts.assumed_roles.clear()
        return {}
    if path == "/peer/requests":
        with State.lock:
            return list(State.requests)
    if path == "/peer/verify":
        why, key = verify(body["token"], body["cluster"])
        return {"why": why, "key": key}
    raise KeyError(path)


class Peer:
    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.path.startswith("/peer/"):
            answer = control(request.path, request.get_json(silent=True) or {})
            return Response(json.dumps(answer), content_type="application/json")(environ, start_response)
        name = "eks" if request.path.startswith("/clusters/") else "sts"
        with State.lock:
            State.requests.append(name)
        failure = State.failures.get(name)
        if failure == "hang":
            time.sleep(90)
        if failure == "garbage":
            return Response("hunter2", content_type="application/json")(environ, start_response)
        if failure:
            return Response("hunter2", status=int(failure))(environ, start_response)
        if name == "eks":
            return as_eks_does(environ, start_response, self.moto)
        return self.moto(environ, start_response)


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    told = set_up()
    allow_web_identity()
    sign_bodies_only()
    server = make_server("127.0.0.1", 0, Peer(), threaded=True, request_handler=MotoRequestHandler)
    print(json.dumps({"port": server.port, **told}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main()
