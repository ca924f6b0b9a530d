#!/usr/bin/env bash
# Installs the official OpenAI SDKs, at the versions pinned beside this file, into .cache/clients of the repository.
# Needs python3 with venv, and npm. Does nothing when these versions are installed already.
set -euo pipefail
cd "$(dirname "$0")"
cache=$(cd ../.. && pwd)/.cache/clients
mkdir -p "$cache"

if ! cmp -s python/requirements.txt "$cache/requirements.txt"; then
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r python/requirements.txt
  cp python/requirements.txt "$cache/requirements.txt"
fi

if ! cmp -s node/package-lock.json "$cache/package-lock.json"; then
  rm -rf "$cache/node"
  mkdir -p "$cache/node"
  cp node/package.json node/package-lock.json "$cache/node/"
  npm ci --prefix "$cache/node" --silent --no-audit --no-fund --ignore-scripts
  cp node/package-lock.json "$cache/package-lock.json"
fi
