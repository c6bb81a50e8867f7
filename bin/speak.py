#!/usr/bin/env python3
"""mooer-speak without an installation: `python bin/speak.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.speak import main

main()
