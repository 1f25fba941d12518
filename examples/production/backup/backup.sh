#!/bin/sh
# backup.sh DIRECTORY [KEEP]: a backup of the running server into DIRECTORY; the KEEP newest stay (14).
# The server and the token are in KEYSTEAD_URL and KEYSTEAD_TOKEN. A backup that fails removes nothing.
set -eu
umask 077
directory=${1:?usage: backup.sh DIRECTORY [KEEP]}
keep=${2:-14}
keystead backup "$directory/keystead-$(date -u +%Y%m%dT%H%M%S%N).backup"
find "$directory" -maxdepth 1 -name 'keystead-*.backup' | sort -r | tail -n "+$((keep + 1))" | while IFS= read -r old; do
  rm -- "$old"
done
