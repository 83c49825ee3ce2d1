# SPDX-License-Identifier: Apache-2.0
"""The authoring package that DAG files import: Airflow 3's names, as far as Millrace runs them.

What is not here raises an error that says so (docs/LIMITS.md lists it), so that a DAG file never half-works.
"""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any

__version__ = "3.0.0"
LIMITS = "docs/LIMITS.md"


class NotSupportedByMillrace(ImportError):
    """A part of Airflow that Millrace does not do."""


def not_supported(what: str) -> NotSupportedByMillrace:
    return NotSupportedByMillrace(f"{what} is not supported by Millrace; see {LIMITS}")


class _Finder(importlib.abc.MetaPathFinder):
    """Asked last: a module of airflow that no file of ours provides."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.startswith("airflow.") and "._" not in fullname:
            raise not_supported(f"the module {fullname!r}")
        return None


if not any(type(f).__name__ == "_Finder" and type(f).__module__ == __name__ for f in sys.meta_path):
    sys.meta_path.append(_Finder())


def __getattr__(name: str) -> Any:
    if name == "DAG":
        from airflow.sdk import DAG

        return DAG
    if name == "Dataset":
        raise not_supported("airflow.Dataset")
    raise AttributeError(f"module 'airflow' has no attribute {name!r}")
