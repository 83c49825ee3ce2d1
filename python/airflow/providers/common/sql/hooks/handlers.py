# SPDX-License-Identifier: Apache-2.0
"""What becomes of a statement's rows."""

from __future__ import annotations

from typing import Any


def fetch_all_handler(cursor: Any) -> Any:
    return cursor.fetchall() if cursor.description is not None else None


def fetch_one_handler(cursor: Any) -> Any:
    return cursor.fetchone() if cursor.description is not None else None


def return_single_query_results(sql: Any, return_last: bool, split_statements: bool) -> bool:
    return isinstance(sql, str) and (return_last or not split_statements)
