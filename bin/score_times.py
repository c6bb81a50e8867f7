#!/usr/bin/env python3
"""mooer-score-times without an installation: `python bin/score_times.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.score_times import main

main()
