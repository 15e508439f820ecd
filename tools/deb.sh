#!/bin/bash
# Builds the Debian packages in BUILD/deb, from a copy of the tree, and has a look at
# them: lintian, then installed into a root of their own, where the command runs a
# script, a host is built and run, and removed again.
#   tools/deb.sh BUILD
set -eu
cd "$(dirname "$0")/.."
build=$1
version=$(sed -n 's/^.define ML_VERSION_STRING "\(.*\)"/\1/p' engine/moonloop.h)
packaged=$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
if [ "$version" != "$packaged" ]; then
  echo "deb: moonloop.h is of version $version, debian/changelog of $packaged" >&2
  exit 1
fi
rm -rf "$build/deb"
mkdir -p "$build/deb"
deb=$(cd "$build/deb" && pwd)
tree=$deb/moonloop-$version
mkdir "$tree"
tar -cf - --exclude=./build --exclude="./${build%/}" --exclude=./.git . | tar -xf - -C "$tree"

say() { printf '  %-8s %s\n' "$1" "$2"; }
log=$deb/build.log
# What this make was told is not the package's business.
if ! (cd "$tree" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC dpkg-buildpackage -b -us -uc >"$log" 2>&1); then
  tail -n 40 "$log" >&2
  exit 1
fi
rm -rf "$tree"
for p in "$deb"/*.deb; do say built "${p##*/} ($(($(stat -c %s "$p") / 1024)) KiB)"; done

# ---- lintian, and a life: installed, used, removed ----

if command -v lintian >/dev/null; then
  lintian --allow-root --fail-on error --tag-display-limit 0 "$deb"/*.changes || {
    echo 'deb: lintian found errors' >&2
    exit 1
  }
  say lintian 'no errors'
fi

cat >"$deb/trial.sh" <<'EOF'
set -eu
cd "$1"
dpkg -i moonloop_*.deb libmoonloop0_*.deb libmoonloop-dev_*.deb lua-moonloop_*.deb >dpkg.log
[ "$(moonloop -e 'print(await(require("asyncio").sleep(0.001, "slept")))')" = slept ]
man -w moonloop >/dev/null 2>&1 || test -e /usr/share/man/man1/moonloop.1.gz
! command -v lua5.4 >/dev/null ||
  [ "$(lua5.4 -e 'local a = require "asyncio"; print(a.run(a.async(function() return a.await(a.sleep(0.001, 42)) end)()))')" = 42 ]
cat >host.c <<'C'
#include <moonloop.h>
int main(void) {
  ml_engine *e;
  return ml_new(0, &e) < 0 || ml_load(e, "=x", "print 'a host'", 14, 0) < 0 || ml_run(e) < 0 || ml_close(e, 0) < 0;
}
C
cc -Wall -Werror -o host host.c $(pkg-config --cflags --libs moonloop)
[ "$(./host)" = 'a host' ]
cc -Wall -Werror -o host host.c $(pkg-config --cflags --libs --static moonloop | sed 's/-lmoonloop/-l:libmoonloop.a/')
[ "$(./host)" = 'a host' ]
dpkg -r lua-moonloop libmoonloop-dev moonloop libmoonloop0 >>dpkg.log
left=$(ls -d /usr/bin/moonloop /usr/include/moonloop.h /usr/lib/*/*moonloop* /usr/lib/*/*/moonloop* /usr/lib/*/lua/5.4/asyncio.so /usr/share/doc/*moonloop* 2>/dev/null || true)
[ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }
EOF

# In a copy of this system that nobody else sees and that is gone afterwards.
if [ "$(id -u)" = 0 ] && unshare -m sh -c '
  mount -t tmpfs none "$1" && mkdir "$1/upper" "$1/work" "$1/root" &&
  mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"' sh "$deb" 2>/dev/null; then
  unshare -m sh -ec '
    mkdir -p "$1/packages" && mount -t tmpfs none /mnt
    cp "$1"/*.deb "$1/trial.sh" "$1/packages"
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
    mount --bind /proc /mnt/root/proc
    mount --bind /dev /mnt/root/dev
    chroot /mnt/root sh "$1/packages/trial.sh" "$1/packages"' sh "$deb"
  rm -rf "$deb/packages"
  say trial 'installed, used by scripts and two hosts, removed'
else
  root=$deb/root
  for p in "$deb"/{moonloop,libmoonloop0,libmoonloop-dev}_*.deb; do dpkg-deb -x "$p" "$root"; done
  libraries=$(dirname "$root"/usr/lib/*/libmoonloop.a)
  [ "$(LD_LIBRARY_PATH=$libraries "$root/usr/bin/moonloop" -e 'print(await(require("asyncio").sleep(0, "slept")))')" = slept ]
  say trial 'unpacked, the command has run (as root it would have been installed)'
fi
rm -f "$deb/trial.sh"
