from __future__ import annotations
import pytest
pytestmark = pytest.mark.root
def test_default(pair):
    import pprint
    seen = pair.observe(pair.runc, pair.config())
    pprint.pprint(seen, width=200)
    pair.compare(pair.config())
