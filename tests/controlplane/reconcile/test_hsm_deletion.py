"""A key in a real HSM goes when its window is over, no earlier, and pkcs11-tool finds it no more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.controlplane.reconcile.world import World
from tests.hsm import SoftToken, pin_file

SECOND = timedelta(seconds=1)


@pytest.fixture
def token(tmp_path: Path) -> SoftToken:
    return SoftToken(tmp_path / "softhsm")


async def in_hsm(world: World, token: SoftToken, directory: Path) -> None:
    """A key in the token, made by the reconciler."""
    await world.add_store("softhsm", "pkcs11", **token.options(workers=1), pin=pin_file(directory))
    await world.connect("softhsm")
    await world.add_key("in-hsm", "softhsm")
    await world.look("in-hsm")


async def test_the_key_of_an_hsm_is_gone_after_its_window_and_not_a_second_before(
    bare: World, token: SoftToken, tmp_path: Path
) -> None:
    await in_hsm(bare, token, tmp_path)
    (material,) = bare.key("in-hsm").status.materials
    made = token.objects()
    assert material.name in made
    assert "sensitive, always sensitive, never extractable, local" in made
    due = await bare.schedule("in-hsm", days=7)
    bare.clock.advance(due - bare.clock.now() - SECOND)
    await bare.look("in-hsm")
    assert token.objects() == made
    bare.clock.advance(SECOND)
    verdict = await bare.look("in-hsm")
    assert verdict is not None
    assert verdict.gone
    assert bare.find("in-hsm") is None
    assert "Secret Key Object" not in token.objects()


async def test_a_token_that_is_away_when_the_window_ends_loses_the_key_when_it_is_back(
    bare: World, token: SoftToken, tmp_path: Path
) -> None:
    await in_hsm(bare, token, tmp_path)
    due = await bare.schedule("in-hsm", days=7)
    token.remove()
    bare.clock.advance(due - bare.clock.now())
    verdict = await bare.look("in-hsm")
    assert verdict is not None
    assert not verdict.gone
    assert bare.find("in-hsm") is not None, "nobody says that it is destroyed while nobody can see it"
    token.bring_back()
    verdict = await bare.look("in-hsm")
    assert verdict is not None
    assert verdict.gone
    assert "Secret Key Object" not in token.objects()
