#!/usr/bin/env python3
"""mooer-build-tokenizer without an installation: `python bin/build_tokenizer.py --help`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from mooer.cli.build_tokenizer import main

main()
