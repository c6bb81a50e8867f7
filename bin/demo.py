#!/usr/bin/env python3
"""mooer-demo without an installation: `python bin/demo.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.demo import main

main()
