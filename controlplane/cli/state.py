"""``drift``, who manages what (``adopt``, ``forget``, ``pause``, ``resume``, ``protect``, ``resolve``), ``reconcile``.

Called by ``main`` with parsed arguments; each function answers the exit code and raises :class:`KeysteadError` for
everything that is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from controlplane.cli.output import Output
from controlplane.errors import InvalidInput
from controlplane.report import Line, Style
from controlplane.report.drift import drift_lines
from controlplane.schema.meta import AnyObject, Kind

if TYPE_CHECKING:
    from controlplane.client import Client

T = TypeVar("T")

EXIT_DRIFT: Final = 2
Verb = Literal["forget", "pause", "resume", "reconcile", "protect"]

_KINDS: Final = {
    "key": Kind.KEY,
    "keystore": Kind.KEY_STORE,
    "principal": Kind.PRINCIPAL,
    "xksproxy": Kind.XKS_PROXY,
}
_NOUNS: Final = {
    Kind.KEY: "key",
    Kind.KEY_STORE: "key store",
    Kind.PRINCIPAL: "principal",
    Kind.XKS_PROXY: "XKS proxy",
}


def drift(output: Output, *, url: str | None, spec_set: str | None, detailed_exitcode: bool) -> int:
    """The server's report. 0, or with ``detailed_exitcode`` 2 if there is drift."""
    report = _ask(url, lambda client: client.drift(spec_set))
    output.answer(report, drift_lines(report))
    return EXIT_DRIFT if detailed_exitcode and report.items else 0


def adopt(kind: str, name: str, output: Output, *, url: str | None, spec_set: str | None, renamed: str | None) -> int:
    """Give an object to a spec set."""
    if spec_set is None:
        raise InvalidInput("say which spec set it is for: --spec-set SET")
    done = _ask(url, lambda client: client.adopt(_KINDS[kind], name, spec_set, renamed=renamed))
    return _say(
        done, f"belongs to spec set {spec_set} now; declare it there, or the next apply schedules its deletion", output
    )


def adopt_material(
    key_store: str,
    theirs: str,
    output: Output,
    *,
    url: str | None,
    spec_set: str | None,
    renamed: str | None,
    key_spec: str | None,
) -> int:
    """Make a key of material that a key store holds."""
    if renamed is None:
        raise InvalidInput("say what the key is to be called: --as NAME")
    done = _ask(
        url, lambda client: client.adopt_material(key_store, theirs, renamed, spec_set=spec_set, key_spec=key_spec)
    )
    leaves = f"; declare it in spec set {spec_set}, or its next apply schedules the deletion" if spec_set else ""
    return _say(done, f"is made of {theirs} in key store {key_store}{leaves}", output)


def manage(verb: Verb, kind: str, name: str, output: Output, *, url: str | None) -> int:
    """One of the verbs that need nothing but a name."""
    of = _KINDS[kind]

    async def ask(client: Client) -> AnyObject:
        match verb:
            case "forget":
                return await client.forget(of, name)
            case "pause":
                return await client.pause(of, name)
            case "resume":
                return await client.resume(of, name)
            case "reconcile":
                return await client.reconcile(name, of)
            case "protect":
                return await client.protect(name)

    words = {
        "forget": "is forgotten: it stays as it is, and no spec set owns it",
        "pause": "is paused: nothing is done about it until it is resumed",
        "resume": "is managed again",
        "reconcile": "is being looked at",
        "protect": "is protected from deletion",
    }
    return _say(_ask(url, ask), words[verb], output)


def resolve(name: str, finding: str, output: Output, *, url: str | None) -> int:
    """What a person found about a call whose outcome is not known."""
    adopts = finding == "adopt"
    done = _ask(url, lambda client: client.resolve(name, "adopt" if adopts else "abandon"))
    return _say(done, "takes over what was made" if adopts else "gets new material", output)


def _say(done: AnyObject, words: str, output: Output) -> int:
    output.answer(done, [Line(f"The {_NOUNS[done.kind]} {done.metadata.name} {words}.", Style.GOOD)])
    return 0


def _ask(url: str | None, ask: Callable[[Client], Awaitable[T]]) -> T:
    from controlplane.client import Client

    async def run() -> T:
        async with Client.from_environment(url) as client:
            return await ask(client)

    return asyncio.run(run())
