#!/bin/sh
# Removes what no service loads: the test suites and C headers that libraries install.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
find "$site" -depth -type d -name tests -exec rm -rf {} +
rm -rf "$site/pyarrow/include" "$site/numpy/_core/include"
