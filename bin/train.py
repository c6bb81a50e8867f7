#!/usr/bin/env python3
"""mooer-train without an installation: `python bin/train.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.train import main

main()
