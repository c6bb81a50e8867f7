#!/usr/bin/env python3
"""mooer-pseudo-label without an installation: `python bin/pseudo_label.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.pseudo_label import main

main()
