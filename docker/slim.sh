#!/bin/sh
# Removes what no service loads: the test suites and C headers that these libraries install.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
for package in pandas numpy scipy sklearn networkx matplotlib; do
  find "$site/$package" -depth -type d -name tests -exec rm -rf {} +
done
rm -rf "$site/pyarrow/tests" "$site/pyarrow/include" "$site/numpy/_core/include"
