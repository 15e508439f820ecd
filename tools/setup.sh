#!/bin/sh
# Sees to it that what the named groups need is there. Quick when it is.
#   tools/setup.sh [build] [test] [demo] [lint] [deb] [valgrind] [bench]
# On Debian and Ubuntu missing packages are installed with apt-get (through
# sudo when not root); elsewhere what is missing is listed and nothing is done.
set -u
PATH=$PATH:/usr/sbin:/sbin
missing='' # what is missing, one a line
packages=''

# need "WHAT IT IS" PACKAGE COMMAND...: missing unless the command succeeds
need() {
  what=$1 package=$2
  shift 2
  "$@" >/dev/null 2>&1 && return
  missing="$missing  $what (Debian: $package)
"
  packages="$packages $package"
}
have() { command -v "$1"; }
have_pc() { for p in "$@"; do pkg-config --exists "$p" && return; done; return 1; }
have_lua_module() { lua5.4 -e "require '$1'" || lua -e "assert(_VERSION == 'Lua 5.4') require '$1'"; }
have_cc() { set -- ${CC:-cc}; command -v "$1"; }
have_header() { echo "#include <$1>" | ${CC:-cc} -E - ; }
have_authorities() { # where Debian, Fedora, Alpine and BSD keep them: without any curl trusts and asks nobody
  for f in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do test -e "$f" && return; done
  return 1
}
have_libc() { echo '#include <stdio.h>' | ${CC:-cc} -E - ; }

check() {
  missing='' packages=''
  for group in "$@"; do
    case $group in
    build)
      need 'a C compiler' gcc have_cc
      need 'the C library headers' libc6-dev have_libc
      need 'pkg-config' pkg-config have pkg-config
      need 'Lua 5.4 with headers' liblua5.4-dev have_pc lua5.4 lua-5.4 lua54 'lua >= 5.4'
      need 'libuv with headers' libuv1-dev have_pc libuv
      [ "${WITH_TLS:-1}" = 0 ] || need 'OpenSSL 3 with headers' libssl-dev have_pc 'openssl >= 3'
      [ "${WITH_HTTP:-1}" = 0 ] || need 'the sources of llhttp' node-llhttp test -e "${LLHTTP_DIR:-/usr/share/llhttp}/llhttp.c"
      [ "${WITH_HTTP2:-${WITH_HTTP:-1}}" = 0 ] || need 'nghttp2 with headers' libnghttp2-dev have_pc libnghttp2
      [ "${WITH_ZLIB:-1}" = 0 ] || need 'zlib with headers' zlib1g-dev have_pc zlib
      [ "${WITH_BROTLI:-1}" = 0 ] || need 'Brotli with headers' libbrotli-dev have_pc libbrotlienc
      [ "${WITH_IDN:-1}" = 0 ] || need 'libidn2 with headers' libidn2-dev have_pc libidn2
      [ "${WITH_PSL:-1}" = 0 ] || need 'libpsl with headers' libpsl-dev have_pc libpsl
      [ "${WITH_EDIT:-1}" = 0 ] || need 'libedit with headers' libedit-dev have_pc libedit
      [ "${WITH_IDN:-1}${WITH_PSL:-1}" = 00 ] || need 'libunistring with headers' libunistring-dev have_header unistr.h
      ;;
    test)
      need 'the Lua 5.4 interpreter' lua5.4 have lua5.4
      need 'a C++ compiler' g++ have c++
      need 'CMake' cmake have cmake
      need 'strace' strace have strace
      need 'busted for Lua 5.4' lua-busted have_lua_module busted
      need 'Python 3' python3 have python3
      need 'curl' curl have curl
      need 'certificates of authorities' ca-certificates have_authorities
      need 'nginx' nginx have nginx
      need 'lighttpd' lighttpd have lighttpd
      need 'tinyproxy' tinyproxy-bin have tinyproxy
      need 'microsocks' microsocks have microsocks
      need 'nghttp and h2load' nghttp2-client have h2load
      need 'the openssl command' openssl have openssl
      need 'ps' procps have ps
      need 'GLib with headers' libglib2.0-dev have_pc glib-2.0
      need 'ncurses with headers' libncurses-dev have_pc ncursesw
      need 'SDL 2 with headers' libsdl2-dev have_pc sdl2
      need 'zlib with headers' zlib1g-dev have_pc zlib
      need 'Xvfb' xvfb have Xvfb
      need 'names of services (/etc/services)' netbase test -e /etc/services
      need 'Chromium' chromium have chromium
      need 'aiohttp for Python' python3-aiohttp /usr/bin/python3 -c 'import aiohttp'
      need 'Node.js' nodejs have node
      need 'cmark-gfm' cmark-gfm have cmark-gfm
      need 'Vim with syntax files' vim sh -c 'vim --version | grep -q +syntax'
      need 'ws for Node.js' node-ws test -e /usr/share/nodejs/ws
      ;;
    demo)
      need 'Python 3' python3 have python3
      ;;
    docs)
      need 'cmark-gfm' cmark-gfm have cmark-gfm
      ;;
    lint)
      need 'luacheck' lua-check have luacheck
      need 'clang-tidy' clang-tidy have clang-tidy
      need 'clang-format' clang-format have clang-format
      need 'nm' binutils have nm
      ;;
    deb)
      need 'debhelper' debhelper have dh
      need 'dpkg-buildpackage' dpkg-dev have dpkg-buildpackage
      need 'lintian' lintian have lintian
      ;;
    valgrind)
      need 'valgrind' valgrind have valgrind
      ;;
    bench)
      need 'Lua 5.4 interpreter' lua5.4 have lua5.4
      need 'lua-cjson' lua-cjson have_lua_module cjson
      need 'Python 3' python3 have python3
      need 'uvloop for Python' python3-uvloop /usr/bin/python3 -c 'import uvloop'
      need 'Node.js' nodejs have node
      need 'aiohttp for Python' python3-aiohttp /usr/bin/python3 -c 'import aiohttp'
      need 'curl' curl have curl
      need 'libcurl with headers' libcurl4-openssl-dev pkg-config --exists libcurl
      need 'wrk' wrk have wrk
      need 'nginx' nginx have nginx
      need 'nghttp and h2load' nghttp2-client have h2load
      need 'ws for Node.js' node-ws test -e /usr/share/nodejs/ws
      need 'wslay with headers' libwslay-dev test -e /usr/include/wslay/wslay.h
      ;;
    *)
      echo "setup: no group '$group' (build test demo lint deb valgrind bench)" >&2
      exit 2
      ;;
    esac
  done
}

[ $# -gt 0 ] || set -- build test
check "$@"
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  printf 'setup: missing here:\n%sInstall these with your system'"'"'s package manager, then run make again.\n' "$missing" >&2
  exit 1
fi
sudo=''
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    printf 'setup: missing here:\n%sAs root: apt-get install%s\n' "$missing" "$packages" >&2
    exit 1
  fi
  sudo=sudo
fi
packages=$(printf '%s\n' $packages | sort -u | tr '\n' ' ')
echo "setup: installing $packages"
apt() { # a package's daemon is not wanted, only its program: RUNLEVEL=1 keeps it from starting
  $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=120 "$@"
}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
if ! { apt update && apt install -y --no-install-recommends $packages; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "setup: apt-get could not install: $packages" >&2
  exit 1
fi

check "$@"
if [ -n "$missing" ]; then
  printf 'setup: still missing after the installation:\n%s' "$missing" >&2
  exit 1
fi
