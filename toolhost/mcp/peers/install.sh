#!/usr/bin/env bash
# Installs the MCP servers, the host and the conformance suite that are pinned beside this file, with the Node that they
# need, into .cache/mcp-peers of the repository. Needs npm on Linux amd64. Does nothing when these versions are installed already.
set -euo pipefail
cd "$(dirname "$0")"
cache=$(cd ../../.. && pwd)/.cache/mcp-peers
cmp -s package-lock.json "$cache/installed" && exit 0
rm -rf "$cache"
mkdir -p "$cache"
cp package.json package-lock.json "$cache/"
npm ci --prefix "$cache" --silent --no-audit --no-fund --ignore-scripts
cp package-lock.json "$cache/installed"
