#!/usr/bin/env python3
"""mooer-transcribe without an installation: `python bin/transcribe.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.transcribe import main

main()
