"""How often a property is tried: half as often as its author says, or many times more in the long run of the tests."""

from hypothesis import settings

_PLAIN = 100


def examples(n: int) -> settings:
    """Try a property on half of `n` examples; with `--hypothesis-profile=long` on twenty times `n`."""
    return settings(max_examples=max(1, n * settings().max_examples // _PLAIN))
