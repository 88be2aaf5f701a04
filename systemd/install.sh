#!/bin/sh
# Installs leptond as a systemd service, from this checkout: run it once, as root; again to upgrade.
#
#   sudo systemd/install.sh                  CPU, or a GPU whose CUDA libraries the system has
#   sudo systemd/install.sh --extra cuda     with CUDA libraries from the package index (also: tensorrt)
#   sudo systemd/install.sh --uninstall      takes everything away but /etc/leptond and /var/lib/leptond
#
# PYTHON names the interpreter (default: python3, at least 3.11). DESTDIR puts everything under another root, for
# packages and tests; nothing is started then. An existing configuration is never touched.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
checkout=$(dirname -- "$here")
root=${DESTDIR:-}
python=${PYTHON:-python3}
home=$root/opt/leptond
etc=$root/etc
extra=
action=install

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --extra)
        [ $# -ge 2 ] || fail "--extra wants a name: cuda or tensorrt"
        extra=$2
        shift
        ;;
    --uninstall) action=uninstall ;;
    --files-only) action=files ;; # all but the virtual environment
    -h | --help)
        sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
    *) fail "unknown argument $1; see --help" ;;
    esac
    shift
done

has_systemd() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

install_packages() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11; set PYTHON"
    "$python" -m venv --help >/dev/null 2>&1 || fail "$python has no venv; on Debian: apt-get install python3-venv"
    "$python" -m venv "$home"
    set -- "$checkout${extra:+[$extra]}"
    [ ! -f "$checkout/constraints.txt" ] || set -- -c "$checkout/constraints.txt" "$@"
    "$home/bin/python" -m pip install --quiet --upgrade "$@"
    mkdir -p "$root/usr/local/bin"
    ln -sf /opt/leptond/bin/leptond "$root/usr/local/bin/leptond"
}

install_files() {
    install -D -m 0644 "$here/leptond.service" "$etc/systemd/system/leptond.service"
    install -D -m 0644 "$here/leptond.sysusers.conf" "$etc/sysusers.d/leptond.conf"
    install -D -m 0644 "$here/leptond.tmpfiles.conf" "$etc/tmpfiles.d/leptond.conf"
    [ ! -f "$checkout/README.md" ] || install -D -m 0644 "$checkout/README.md" "$home/README.md"
    [ -e "$etc/leptond/config.toml" ] || install -D -m 0640 "$checkout/config.toml" "$etc/leptond/config.toml"
    if [ -z "$root" ]; then
        systemd-sysusers leptond.conf
        systemd-tmpfiles --create leptond.conf
    fi
    ! has_systemd || systemctl daemon-reload
}

uninstall() {
    ! has_systemd || systemctl disable --now leptond.service || true
    rm -f "$etc/systemd/system/leptond.service" "$etc/sysusers.d/leptond.conf" "$etc/tmpfiles.d/leptond.conf"
    rm -f "$root/usr/local/bin/leptond"
    rm -rf "$home"
    ! has_systemd || systemctl daemon-reload
    echo "left in place: /etc/leptond, /var/lib/leptond, the user leptond"
}

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail "run it as root"
case $action in
uninstall) uninstall ;;
files) install_files ;;
install)
    install_packages
    install_files
    echo "installed. Now:"
    echo "  1. edit /etc/leptond/config.toml (the example camera is switched off)"
    echo "  2. leptond check --probe"
    echo "  3. systemctl enable --now leptond     (after an upgrade: systemctl restart leptond)"
    echo "  4. leptond status                     journalctl -u leptond -f"
    ;;
esac
