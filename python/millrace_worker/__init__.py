# SPDX-License-Identifier: Apache-2.0
"""The warm interpreter that parses DAG files and runs Python tasks for the server."""
