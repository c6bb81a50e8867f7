#!/usr/bin/env python3
"""mooer-dump-latents without an installation: `python bin/dump_latents.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.dump_latents import main

main()
