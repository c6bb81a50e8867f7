#!/usr/bin/env python3
"""mooer-score without an installation: `python bin/score.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.score import main

main()
