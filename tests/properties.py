"""How often a property is tried: as often as its author says, or many times more in the long run of the tests."""

from hypothesis import settings

_PLAIN = 100


def examples(n: int) -> settings:
    """Try a property on `n` examples; with `--hypothesis-profile=long` on so many times more as the profile says."""
    return settings(max_examples=n * settings().max_examples // _PLAIN)
