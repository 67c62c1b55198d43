# shellcheck shell=bash
# Root folders of other systems: made with debootstrap, entered with unshare and chroot.
# SPDX-License-Identifier: Apache-2.0
#
# Read by run.sh; each function is described by its first line.

# Prints the address from which apt of this machine takes Debian.
mirror_of_apt() {
  local first
  first=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' \
    2>/dev/null | sed -n 1p)
  [[ -n $first ]] && printf '%s\n' "${first%/}"
}

# make_root ROOT SUITE ARCH MIRROR: the smallest system, unless it is there already.
make_root() {
  local root=$1 suite=$2 arch=$3 mirror=$4
  if [[ -e $root/made ]]; then return; fi
  printf '== making %s\n' "$root"
  rm -rf --one-file-system "$root"
  unshare --mount debootstrap --variant=minbase --arch="$arch" "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
    printf 'systems: debootstrap failed. The last lines of %s:\n' "$root.log" >&2
    tail -n 20 "$root.log" >&2
    return 1
  }
  # What dpkg writes need not survive a crash: a root is made again.
  printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  touch "$root/made"
}

# copy_tree FROM TO: the files that git knows or would take, with their times; TO/build is kept.
copy_tree() {
  mkdir -p "$2"
  find "$2" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
  git -c safe.directory='*' -C "$1" ls-files -z --cached --others --exclude-standard |
    (cd "$1" && while IFS= read -rd '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done) |
    tar -C "$1" --null --files-from=- -c | tar -C "$2" -x
}

# in_root ROOT TOOLS COMMAND...: runs it there. TOOLS: a root whose cross compilers are lent, or ''.
in_root() {
  unshare --mount --pid --fork --kill-child bash -euc '
    root=$0 tools=$1
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mkdir -p "$root/dev/shm" "$root/dev/pts"
    # Process ids begin at 1 again in each call, and Open MPI 5 names its folder by the id of mpirun.
    rm -rf "$root"/tmp/prte.* "$root"/tmp/ompi.*
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    if [[ -n $tools ]]; then
      for folder in /lib64 /usr/lib/x86_64-linux-gnu /usr/lib/gcc-cross /usr/aarch64-linux-gnu; do
        mkdir -p "$root$folder"
        mount --rbind "$tools$folder" "$root$folder"
      done
      cp -a "$tools"/usr/bin/aarch64-linux-gnu-* "$root/usr/bin/"
    fi
    exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
  ' "$1" "$2" "${@:3}" </dev/null
}

# install_packages ROOT PACKAGE...: those that are missing.
install_packages() {
  local root=$1
  shift
  if in_root "$root" '' dpkg -s "$@" >/dev/null 2>&1; then return; fi
  in_root "$root" '' env DEBIAN_FRONTEND=noninteractive sh -c '
    apt-get -qq update && apt-get -qq -y install --no-install-recommends "$@"' sh "$@" \
    >"$root.log" 2>&1 || {
    printf 'systems: apt-get failed. The last lines of %s:\n' "$root.log" >&2
    tail -n 20 "$root.log" >&2
    return 1
  }
}
