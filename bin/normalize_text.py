#!/usr/bin/env python3
"""mooer-normalize-text without an installation: `python bin/normalize_text.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.normalize_text import main

main()
