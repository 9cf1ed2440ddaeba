"""Here the few images of a test are kept as thousands are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storekeeper import parts


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Few keys a part, and no mapping too small for parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "KEYS_A_PART", 1)
        patch.setattr(parts, "FEW", 1)
        yield
