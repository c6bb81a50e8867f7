#!/usr/bin/env python3
"""mooer-export without an installation: `python bin/export.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.export import main

main()
