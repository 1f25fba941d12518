"""GetCallerIdentity, AssumeRole and GetSessionToken: the one table of the STS door, and its handlers.

Source of the rules: the AWS STS API reference of each operation.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from controlplane.access.authentication import unique_id
from controlplane.access.caller import Caller, CallerType
from controlplane.access.context import Conditions, of_tags
from controlplane.access.sessions import Issued, Session
from controlplane.api.services import Services
from controlplane.api.sts.parameters import Parameters, constraint
from controlplane.api.sts.xml import Tree
from controlplane.domain.names import session_arn
from controlplane.domain.policy import Because, parse_policy
from controlplane.errors import AccessDenied, InvalidInput, InvalidPolicy, LimitExceeded, Unsupported
from controlplane.schema.meta import Principal
from controlplane.schema.principals import PrincipalType
from controlplane.usage.perform import Request

SHORTEST: Final = 900
LONGEST: Final = 43_200
DEFAULT: Final = 3_600
CHAINED: Final = 3_600
"""Longest session of a role that a session of a role asked for ("role chaining")."""
OWN_LONGEST: Final = 129_600
OWN_DEFAULT: Final = 43_200
"""Of a user's own session (GetSessionToken)."""
MAX_TAGS: Final = 50
MAX_POLICY: Final = 2_048

_NAME: Final = re.compile(r"[\w+=,.@-]*", re.ASCII)
_EXTERNAL_ID: Final = re.compile(r"[\w+=,.@:\/-]*", re.ASCII)
_POLICY: Final = re.compile(r"[\u0009\u000A\u000D\u0020-\u00FF]+")
_ROLE: Final = re.compile(r"arn:aws:iam::(?P<account>[0-9]{12}):role/(?P<name>[\w+=,.@/-]{1,128})", re.ASCII)

Handler = Callable[[Services, Caller, Parameters], Awaitable[Tree]]


async def get_caller_identity(at: Services, caller: Caller, parameters: Parameters) -> Tree:
    del parameters

    async def work() -> Tree:
        identity = caller.identity
        return {"Arn": identity.arn, "UserId": identity.user_id, "Account": identity.account}

    return await at.usage.on_account(_asked(caller, "GetCallerIdentity"), work)


async def assume_role(at: Services, caller: Caller, parameters: Parameters) -> Tree:
    arn = parameters.require("RoleArn")
    parameters.require("RoleSessionName")
    name = parameters.text("RoleSessionName", _NAME, 2, 64) or ""
    seconds = parameters.number("DurationSeconds", SHORTEST, LONGEST)
    policy = _session_policy(parameters)
    tags = _tags(parameters)
    source_identity = parameters.text("SourceIdentity", _NAME, 2, 64)
    for member in ("PolicyArns", "TransitiveTagKeys", "SerialNumber", "TokenCode", "ProvidedContexts"):
        if parameters.has(member):
            raise Unsupported(f"{member} is not supported: this server has no managed policies and no MFA devices.")
    held = caller.identity.source_identity
    if held is not None and source_identity not in (None, held):
        raise AccessDenied("The source identity of a session cannot be changed.")
    role = _role(at, caller, arn)
    if role is None:
        return await at.usage.on_account(_asked(caller, "AssumeRole"), lambda: _nobody(caller, arn), arn)
    longest = role.spec.max_session_seconds or DEFAULT
    if seconds is not None and seconds > longest:
        raise InvalidInput("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if caller.identity.type is CallerType.ROLE:
        if seconds is not None and seconds > CHAINED:
            raise InvalidInput(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
            )
        longest = CHAINED
    conditions: Conditions = {"sts:RoleSessionName": name, **(of_tags(tags) if tags else {})}
    for key, value in (
        ("sts:ExternalId", parameters.text("ExternalId", _EXTERNAL_ID, 2, 1224)),
        ("sts:SourceIdentity", source_identity),
    ):
        if value is not None:
            conditions[key] = value

    asked = _asked(caller, "AssumeRole", conditions)
    asked.details = {"roleSessionName": name, **({"sourceIdentity": source_identity} if source_identity else {})}

    async def work() -> Tree:
        if tags:
            at.usage.require_on_role(_asked(caller, "TagSession", conditions), role)
        if source_identity is not None:
            at.usage.require_on_role(_asked(caller, "SetSourceIdentity", conditions), role)
        now = at.clock.time()
        issued = await at.authenticator.sessions.issue(
            Session(
                uid=role.metadata.uid,
                name=name,
                secret=b"",
                issued_at=now,
                expires_at=now + min(seconds or DEFAULT, longest),
                policy=policy,
                tags=tags,
                source_identity=source_identity or held,
            )
        )
        if issued is None:
            raise LimitExceeded("The session policy and the session tags are too large together.")
        asked.details = {**(asked.details or {}), "accessKeyId": issued.access_key_id}
        return {
            "Credentials": _credentials(issued),
            "AssumedRoleUser": {
                "AssumedRoleId": f"{unique_id(role)}:{name}",
                "Arn": session_arn(caller.account, role.metadata.name, name),
            },
            **({"SourceIdentity": source_identity or held or ""} if source_identity or held else {}),
        }

    return await at.usage.on_role(asked, role, work)


async def get_session_token(at: Services, caller: Caller, parameters: Parameters) -> Tree:
    seconds = parameters.number("DurationSeconds", SHORTEST, OWN_LONGEST) or OWN_DEFAULT
    for member in ("SerialNumber", "TokenCode"):
        if parameters.has(member):
            raise Unsupported(f"{member} is not supported: this server has no MFA devices.")
    identity = caller.identity

    async def work() -> Tree:
        if identity.issued_at is not None:
            raise AccessDenied("Cannot call GetSessionToken with session credentials")
        user = at.catalog.principal_named(identity.name)
        assert user is not None
        now = at.clock.time()
        issued = await at.authenticator.sessions.issue(
            Session(uid=user.metadata.uid, name="", secret=b"", issued_at=now, expires_at=now + seconds)
        )
        assert issued is not None
        return {"Credentials": _credentials(issued)}

    return await at.usage.on_account(_asked(caller, "GetSessionToken"), work)


OPERATIONS: Final[Mapping[str, Handler]] = {
    "AssumeRole": assume_role,
    "GetCallerIdentity": get_caller_identity,
    "GetSessionToken": get_session_token,
}


# ---- inside ----------------------------------------------------------------------------------------------------------


def _asked(caller: Caller, operation: str, conditions: Conditions | None = None) -> Request:
    return Request(caller, operation, action=f"sts:{operation}", conditions=conditions)


async def _nobody(caller: Caller, arn: str) -> Tree:
    """A role that is not there is refused as one that may not be assumed, so that nobody can ask for names."""
    raise AccessDenied(
        f"User: {caller.principal} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        + Because.NOT_BY_RESOURCE.format("sts:AssumeRole"),
        reason="there is no such role",
    )


def _role(at: Services, caller: Caller, arn: str) -> Principal | None:
    """The role that an ARN names."""
    match = _ROLE.fullmatch(arn)
    if match is None:
        raise InvalidInput(f"{ascii(arn[:128])[1:-1]} is invalid")
    role = at.catalog.principal_named(match["name"]) if match["account"] == caller.account else None
    return (
        role if role is not None and role.spec.type is PrincipalType.ROLE and role.metadata.deletion is None else None
    )


def _session_policy(parameters: Parameters) -> str | None:
    text = parameters.text("Policy", _POLICY, 1, MAX_POLICY)
    if text is not None:
        try:
            parse_policy(text, identity=True)
        except InvalidPolicy as error:
            raise InvalidPolicy(f"The session policy cannot be used: {error.message}") from None
    return text


def _tags(parameters: Parameters) -> dict[str, str]:
    found: dict[str, str] = {}
    for member in parameters.members("Tags"):
        key, value = member.get("Key"), member.get("Value")
        if key is None or value is None:
            raise constraint("null", "Tags", "Each member must have a Key and a Value")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise constraint(key, "Tags", "A key has 1 to 128 characters, a value at most 256")
        if key.lower() in {each.lower() for each in found}:
            raise InvalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        found[key] = value
    if len(found) > MAX_TAGS:
        raise constraint(str(len(found)), "Tags", f"Member must have length less than or equal to {MAX_TAGS}")
    return found


def _credentials(issued: Issued) -> Tree:
    return {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret_access_key,
        "SessionToken": issued.session_token,
        "Expiration": datetime.fromtimestamp(issued.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
