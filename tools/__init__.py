"""What runs around the lab: the runner, its pages and checks. The lab never imports it."""

from __future__ import annotations

import sys

# jsonschema, which comes with nbformat, builds a grammar of international web addresses when it
# finds this package. That takes a second and is of no use here; it does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
