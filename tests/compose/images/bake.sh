#!/usr/bin/env bash
# Bakes stand-ins for the public images that compose.yaml and the Dockerfile name, from Debian's
# packages, where no image registry answers. They have the official images' names, paths, users and
# entrypoints, as far as those are used here. Grafana is not in Debian: it has none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/debian.sh"

BASE=heori-standin-base
declare -A IMAGES=([python]=python:3.13-slim-trixie [redis]=redis:8 [prometheus]=prom/prometheus:v3.5.0)

missing=()
for name in "${!IMAGES[@]}"; do
	docker image inspect "${IMAGES[$name]}" >/dev/null 2>&1 || missing+=("$name")
done
[ ${#missing[@]} = 0 ] && exit 0
if timeout 60 docker pull --quiet "${IMAGES[${missing[0]}]}" >/dev/null 2>&1; then
	exit 0 # there is a registry: compose pulls the rest
fi

if ! docker image inspect $BASE >/dev/null 2>&1; then
	echo "no image registry answers: baking stand-ins from Debian's packages …"
	command -v mmdebstrap >/dev/null || {
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mmdebstrap >/dev/null
	}
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
	mmdebstrap --quiet --variant=minbase --include=ca-certificates \
		--customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
		$SUITE "$folder/base.tar" "$(debian_mirror)"
	docker import "$folder/base.tar" $BASE >/dev/null
fi
for name in "${missing[@]}"; do
	echo "baking ${IMAGES[$name]} …"
	DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE=$BASE --target "$name" \
		-t "${IMAGES[$name]}" -f "$here/Dockerfile" "$here" >/dev/null 2>"$here/../bake.log" ||
		{ cat "$here/../bake.log"; exit 1; }
	rm -f "$here/../bake.log"
done
