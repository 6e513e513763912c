# Sourced by the scripts that prepare tests. `need COMMAND PACKAGE…` makes sure that a command is there: where it is missing, its Debian
# packages are installed (as root, or with sudo, which may ask a person); where that cannot be done, the script ends and says what to install.

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then sudo "$@"
    else return 1
    fi
}

# For root: installs packages whose services are not started, for tests start their own. Debian asks /usr/sbin/policy-rc.d, which is
# there for as long as that takes, unless the machine has one already.
install='
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap "rm -f $policy" EXIT
        trap "exit 1" HUP INT TERM
        printf "#!/bin/sh\nexit 101\n" >$policy
        chmod 755 $policy
    fi
    apt-get -qq update && apt-get -qq -y install --no-install-recommends "$@"'

need_packages() {
    echo "installing: $*" >&2
    log=$(mktemp)
    if as_root env DEBIAN_FRONTEND=noninteractive sh -c "$install" sh "$@" >"$log" 2>&1
    then
        rm -f "$log"
        return 0
    fi
    cat "$log" >&2
    rm -f "$log"
    echo "$0: could not install, please do so yourself: $*" >&2
    exit 1
}

need() {
    command=$1
    shift
    command -v "$command" >/dev/null || need_packages "$@"
    command -v "$command" >/dev/null || { echo "$0: $command is still missing after installing $*" >&2; exit 1; }
}

# at_least WANTED FOUND: is version FOUND new enough?
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# need_version WHAT WANTED FOUND
need_version() {
    at_least "$2" "$3" || { echo "$0: $1 $2 or newer is needed, this machine has $3" >&2; exit 1; }
}
