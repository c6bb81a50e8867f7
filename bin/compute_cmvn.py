#!/usr/bin/env python3
"""mooer-compute-cmvn without an installation: `python bin/compute_cmvn.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.compute_cmvn import main

main()
