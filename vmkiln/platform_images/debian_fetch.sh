#!/bin/sh
# Runs before there is a new root file system, which is to be $1: fetches what it is made from and unpacks nothing.
# VMKILN_SUITE, VMKILN_ARCHITECTURE and VMKILN_PACKAGES say what; lists and packages are left in VMKILN_FETCHED.
# What is asked for is what mmdebstrap's variant "minbase" asks for, which finds it there without a network.
set -eu
root=$1
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" TMPDIR="$root/tmp"
# apt looks at no variable for authorities of the network's own, and at one file for all: those of the system before them
if [ -r "${NODE_EXTRA_CA_CERTS:-}" ]; then
    mkdir "$VMKILN_FETCHED.authorities"
    export APT_CONFIG="$VMKILN_FETCHED.authorities/apt.conf"
    cat /etc/ssl/certs/ca-certificates.crt "$NODE_EXTRA_CA_CERTS" > "$VMKILN_FETCHED.authorities/all.pem" || true
    cat "$MMDEBSTRAP_APT_CONFIG" > "$APT_CONFIG"
    echo "Acquire::https::CaInfo \"$VMKILN_FETCHED.authorities/all.pem\";" >> "$APT_CONFIG"
fi
apt-get update --error-on=any
of_suite="?or(?archive(^$VMKILN_SUITE\$),?codename(^$VMKILN_SUITE\$)),?architecture($VMKILN_ARCHITECTURE)"
essential="?narrow($of_suite,?essential)"
required="?narrow($of_suite,?and(?priority(required),?not(?essential)))"
apt-get --yes --download-only install "$essential"
# shellcheck disable=SC2086 # words, each a package
apt-get --yes --download-only install "$essential" "$required" $VMKILN_PACKAGES
mkdir "$VMKILN_FETCHED"
mv "$root/var/lib/apt/lists" "$VMKILN_FETCHED/lists"
mkdir -p "$root/var/lib/apt/lists" "$VMKILN_FETCHED/archives"
mv "$root"/var/cache/apt/archives/*.deb "$VMKILN_FETCHED/archives"
rm -rf "$VMKILN_FETCHED.authorities"
