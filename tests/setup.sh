#!/bin/sh
# Installs the Debian packages that the tests run for real (Prometheus, promtool, nginx, HAProxy, openssl), or those given as arguments.
#
# Without apt-get, or without the right to use it, what is missing is named in one line and the tests that need it are skipped.
# In CI (CI=true) and for packages given as arguments this is an error instead.
set -eu

packages=$*
if [ -z "$packages" ]; then
    for pair in prometheus:prometheus promtool:prometheus nginx:nginx-light haproxy:haproxy openssl:openssl; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null && continue
        case "$packages " in *" ${pair##*:} "*) ;; *) packages="$packages ${pair##*:}" ;; esac
    done
    optional=yes
fi
[ -n "$packages" ] || exit 0

give_up() {
    echo "$1: install$packages" >&2
    if [ "${CI:-}" != true ] && [ -n "${optional:-}" ]; then
        echo "The tests that need them are skipped." >&2
        exit 0
    fi
    exit 1
}

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
    sudo -n true 2>/dev/null || give_up "Not root, and no sudo without a password"
fi
command -v apt-get >/dev/null || give_up "No apt-get on this machine"

# A freshly installed Prometheus or nginx must not start as a service: the tests start their own on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap '$as_root rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
fi

echo "Installing Debian packages:$packages"
# shellcheck disable=SC2086  # a list of names
{ $as_root apt-get -qq update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages; } \
    >/dev/null || give_up "apt-get failed"
