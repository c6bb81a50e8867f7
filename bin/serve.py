#!/usr/bin/env python3
"""mooer-serve without an installation: `python bin/serve.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.serve import main

main()
