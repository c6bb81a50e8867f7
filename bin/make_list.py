#!/usr/bin/env python3
"""mooer-make-list without an installation: `python bin/make_list.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.make_list import main

main()
