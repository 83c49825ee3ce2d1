# SPDX-License-Identifier: Apache-2.0
"""python3 -m millrace_worker: commands on standard input, answers on standard output, as length-prefixed JSON."""

from millrace_worker.zygote import main

if __name__ == "__main__":
    main()
