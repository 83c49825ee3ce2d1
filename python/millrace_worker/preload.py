# SPDX-License-Identifier: Apache-2.0
"""Imported once in the parent, so that children have it without cost."""

import calendar  # noqa: F401
import contextlib  # noqa: F401
import csv  # noqa: F401
import dataclasses  # noqa: F401
import http.client  # noqa: F401
import json  # noqa: F401
import logging  # noqa: F401
import pathlib  # noqa: F401
import random  # noqa: F401
import subprocess  # noqa: F401
import tempfile  # noqa: F401
import urllib.request  # noqa: F401
import uuid  # noqa: F401
import zoneinfo  # noqa: F401

import airflow.decorators  # noqa: F401
import airflow.providers.common.sql.hooks.sql  # noqa: F401
import airflow.providers.common.sql.operators.sql  # noqa: F401
import airflow.providers.standard.operators.bash  # noqa: F401
import airflow.providers.standard.operators.empty  # noqa: F401
import airflow.providers.standard.operators.python  # noqa: F401
import airflow.sdk  # noqa: F401
from airflow._core import context, render, serialize  # noqa: F401

# One render compiles Jinja2's own machinery into memory.
render.environment(None).from_string("{{ x | ds if x is defined }}").render()
