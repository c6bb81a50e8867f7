SHELL := bash
.PHONY: lint test mini

lint:
	. ./path.sh && ruff check . && ruff format --check . && python tools/check_layers.py

test:
	bash tools/run_tests.sh

mini:
	bash egs/mini/run.sh
