#!/usr/bin/env python3
"""mooer-dump-feats without an installation: `python bin/dump_feats.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.dump_feats import main

main()
