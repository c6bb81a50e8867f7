#!/usr/bin/env python3
"""mooer-check-data without an installation: `python bin/check_data.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.check_data import main

main()
