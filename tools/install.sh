#!/bin/sh
# Installs what was built, or removes it again.
#   tools/install.sh install|uninstall BUILD
# The Makefile gives in the environment: PREFIX DESTDIR BINDIR LIBDIR LUADIR
# INCLUDEDIR MANDIR DOCDIR DATADIR, VERSION SOVERSION, REQUIRES (pkg-config's names of what the
# library needs), LIBS (how to link them), SYS_LIBS (the system's) and RELOCATABLE. What names a folder of
# the installation does so relative to its own place, so that the tree may be
# moved as a whole; with RELOCATABLE=0 the .pc file names absolute folders.
set -eu
action=$1 build=$2
cmake=$LIBDIR/cmake/moonloop
pkgconfig=$LIBDIR/pkgconfig
shared=libmoonloop.so.$VERSION

# MODE SOURCE TARGET, a line for each file
files() {
  cat <<EOF
755 $build/moonloop $BINDIR/moonloop
644 engine/moonloop.h $INCLUDEDIR/moonloop.h
644 $build/libmoonloop.a $LIBDIR/libmoonloop.a
755 $build/$shared $LIBDIR/$shared
644 $build/asyncio.so $LUADIR/asyncio.so
644 docs/moonloop.1 $MANDIR/man1/moonloop.1
EOF
  for f in LICENSE README.md CHANGELOG.md docs/*.md docs/reference/*.md docs/internals/*.md; do
    echo "644 $f $DOCDIR/$f"
  done
  find share -type f | while read -r f; do echo "644 $f $DATADIR/${f#share/}"; done
}

# The way to folder $1 from folder $2, both absolute.
way() {
  to=$1 from=$2 up=''
  while case $to/ in "$from"/*) false ;; esac; do
    up=../$up from=${from%/*}
  done
  to=${to#"$from"}
  to=$up${to#/}
  echo "${to%/}"
}

# A folder as the .pc file names it.
folder() {
  if [ "$RELOCATABLE" = 0 ]; then
    case $1 in
    "$PREFIX"/*) echo "\${prefix}${1#"$PREFIX"}" ;;
    *) echo "$1" ;;
    esac
  else
    echo "\${pcfiledir}/$(way "$1" "$pkgconfig")"
  fi
}

pc() {
  prefix=$PREFIX
  [ "$RELOCATABLE" = 0 ] || prefix=$(folder "$PREFIX")
  cat <<EOF
prefix=$prefix
libdir=$(folder "$LIBDIR")
includedir=$(folder "$INCLUDEDIR")

Name: moonloop
Description: Lua 5.4 with async/await on libuv
Version: $VERSION
Requires.private: $REQUIRES
Cflags: -I\${includedir}
Libs: -L\${libdir} -lmoonloop
Libs.private: $SYS_LIBS
EOF
}

cmake_config() {
  cat <<EOF
# find_package(moonloop) gives moonloop::moonloop, the shared library, and
# moonloop::static, which brings the libraries it needs along.
get_filename_component(_moonloop_lib "\${CMAKE_CURRENT_LIST_DIR}/$(way "$LIBDIR" "$cmake")" ABSOLUTE)
get_filename_component(_moonloop_include "\${CMAKE_CURRENT_LIST_DIR}/$(way "$INCLUDEDIR" "$cmake")" ABSOLUTE)

if(NOT TARGET moonloop::moonloop)
  add_library(moonloop::moonloop SHARED IMPORTED)
  set_target_properties(moonloop::moonloop PROPERTIES
    IMPORTED_LOCATION "\${_moonloop_lib}/$shared"
    IMPORTED_SONAME "libmoonloop.so.$SOVERSION"
    INTERFACE_INCLUDE_DIRECTORIES "\${_moonloop_include}")
endif()
if(NOT TARGET moonloop::static)
  add_library(moonloop::static STATIC IMPORTED)
  set_target_properties(moonloop::static PROPERTIES
    IMPORTED_LOCATION "\${_moonloop_lib}/libmoonloop.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    INTERFACE_INCLUDE_DIRECTORIES "\${_moonloop_include}"
    INTERFACE_LINK_LIBRARIES "$(echo $LIBS $SYS_LIBS | tr ' ' ';')")
endif()
unset(_moonloop_lib)
unset(_moonloop_include)
EOF
}

# Before 1.0 a minor version may change what hosts see.
cmake_version() {
  cat <<EOF
set(PACKAGE_VERSION "$VERSION")
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(PACKAGE_FIND_VERSION_MAJOR EQUAL ${VERSION%%.*} AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  if(${VERSION%%.*} GREATER 0 OR NOT PACKAGE_FIND_VERSION VERSION_LESS "${VERSION%.*}" OR PACKAGE_FIND_VERSION_COUNT LESS 2)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
endif()
EOF
}

to_install() {
  files | while read -r mode source target; do
    install -d "$DESTDIR${target%/*}"
    install -m "$mode" "$source" "$DESTDIR$target"
  done
  ln -sf "$shared" "$DESTDIR$LIBDIR/libmoonloop.so.$SOVERSION"
  ln -sf "libmoonloop.so.$SOVERSION" "$DESTDIR$LIBDIR/libmoonloop.so"
  install -d "$DESTDIR$pkgconfig" "$DESTDIR$cmake"
  pc >"$DESTDIR$pkgconfig/moonloop.pc"
  cmake_config >"$DESTDIR$cmake/moonloopConfig.cmake"
  cmake_version >"$DESTDIR$cmake/moonloopConfigVersion.cmake"
  chmod 644 "$DESTDIR$pkgconfig/moonloop.pc" "$DESTDIR$cmake"/*.cmake
  # the dynamic linker's list of what is in its folders
  [ -n "$DESTDIR" ] || PATH=$PATH:/sbin:/usr/sbin ldconfig 2>/dev/null || true
}

to_uninstall() {
  files | while read -r _ _ target; do rm -f "$DESTDIR$target"; done
  rm -f "$DESTDIR$LIBDIR/libmoonloop.so" "$DESTDIR$LIBDIR/libmoonloop.so.$SOVERSION" \
    "$DESTDIR$pkgconfig/moonloop.pc" "$DESTDIR$cmake"/moonloopConfig.cmake "$DESTDIR$cmake"/moonloopConfigVersion.cmake
  # folders that are moonloop's alone
  (cd share && find . -mindepth 1 -depth -type d) | while read -r d; do rmdir "$DESTDIR$DATADIR/$d" 2>/dev/null || true; done
  rmdir "$DESTDIR$DATADIR" 2>/dev/null || true
  rmdir "$DESTDIR$DOCDIR/docs/reference" "$DESTDIR$DOCDIR/docs/internals" "$DESTDIR$DOCDIR/docs" "$DESTDIR$DOCDIR" "$DESTDIR$cmake" 2>/dev/null || true
}

"to_$action"
