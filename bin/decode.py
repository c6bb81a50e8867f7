#!/usr/bin/env python3
"""mooer-decode without an installation: `python bin/decode.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.decode import main

main()
