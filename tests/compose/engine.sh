#!/usr/bin/env bash
# Sees to what the tests of compose.yaml need: an engine, and compose 2. Where they are missing, on
# Debian and as root, it installs and starts them; where no image registry answers, it bakes
# stand-ins for the public images (images/bake.sh). Where all is there, it changes nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/images/debian.sh"

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

if ! docker info >/dev/null 2>&1; then
	can_install || { echo "no Docker engine answers: start one"; exit 1; }
	if ! command -v dockerd >/dev/null; then
		echo "installing Docker …"
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
			docker.io iptables >/dev/null 2>&1
	fi
	echo "starting dockerd; it ends with this machine, or with: kill \$(cat /run/docker.pid)"
	setsid nohup dockerd >/var/log/dockerd.log 2>&1 &
	timeout 60 sh -c 'until docker info >/dev/null 2>&1; do sleep 0.2; done' ||
		{ tail /var/log/dockerd.log; exit 1; }
fi

if ! docker compose version >/dev/null 2>&1; then
	can_install || { echo "docker compose is missing: install its plugin"; exit 1; }
	echo "installing compose 2, from a newer Debian …"
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
	(cd "$folder" && newer_apt "$folder" download docker-compose && dpkg -i docker-compose_*.deb) >/dev/null
fi

"$here/images/bake.sh"
