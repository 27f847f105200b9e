import asyncio

from mdb_engine.manifest.validator import ManifestValidator, Verdict


def test_an_answer_in_three_parts() -> None:
    is_valid, error, paths = ManifestValidator().validate({"slug": "shop", "name": "Shop"})
    assert (is_valid, error, paths) == (True, None, None)
    is_valid, error, paths = ManifestValidator().validate({"slug": "shop"})
    assert (is_valid, paths) == (False, ["name"])
    assert error == "this key is required"
    assert tuple(ManifestValidator().validate([])) == (False, "a manifest is a JSON object", [""])


def test_it_may_be_awaited() -> None:
    async def body() -> Verdict:
        return await ManifestValidator().validate({"slug": "shop", "name": "Shop"})

    assert asyncio.run(body()) == (True, None, None)
