"""What Terraform starts. The server and its token come from the provider block or, as for ``keystead``, from
``KEYSTEAD_URL``, ``KEYSTEAD_TOKEN`` and ``KEYSTEAD_INSECURE``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tf.iface import Config, DataSource, Resource
from tf.iface import Provider as ProviderInterface
from tf.runner import run_provider
from tf.schema import Attribute, Schema
from tf.types import String, Unknown
from tf.utils import Diagnostics

from controlplane.client import DEFAULT_URL, Client
from controlplane.errors import KeysteadError
from keystead_terraform.kinds import RESOURCES

T = TypeVar("T")


class Provider(ProviderInterface):
    """``keystead``."""

    def __init__(self) -> None:
        self._url = DEFAULT_URL
        self._token: str | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="keystead", daemon=True).start()

    def full_name(self) -> str:
        return "keystead/keystead"

    def get_model_prefix(self) -> str:
        return "keystead_"

    def get_provider_schema(self, diags: Diagnostics) -> Schema:
        return Schema(
            version=0,
            attributes=[
                Attribute("url", String(), description="The server. Default: KEYSTEAD_URL.", optional=True),
                Attribute(
                    "token",
                    String(),
                    description="A bearer token. Default: KEYSTEAD_TOKEN, which keeps it out of files.",
                    optional=True,
                    sensitive=True,
                ),
            ],
        )

    def validate_config(self, diags: Diagnostics, config: Config) -> None:
        """Everything is checked when it is configured: a value may not be known before."""

    def configure_provider(self, diags: Diagnostics, config: Config) -> None:
        if Unknown in (config.get("url"), config.get("token")):
            diags.add_error("The server is not known yet", "url and token have to be known before anything is planned.")
            return
        self._url = config.get("url") or os.environ.get("KEYSTEAD_URL") or DEFAULT_URL
        self._token = config.get("token") or os.environ.get("KEYSTEAD_TOKEN")
        try:
            self.ask(lambda client: client.server())
        except KeysteadError as error:
            diags.add_error(f"{self._url} does not answer as a Keystead that knows this token", error.message)

    def get_data_sources(self) -> list[type[DataSource]]:
        return []

    def get_resources(self) -> list[type[Resource]]:
        return list(RESOURCES)

    def ask(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run one piece of work with a client; calls come from several threads. Raises :class:`KeysteadError`.

        All of it runs on one event loop in one thread: msgspec makes what it knows of a type when it first decodes one,
        and two threads that do so at once end the process.
        """

        async def run() -> T:
            insecure = os.environ.get("KEYSTEAD_INSECURE") == "1"
            async with Client(self._url, self._token, insecure=insecure) as client:
                return await work(client)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()


def main() -> None:
    run_provider(Provider())
