# Sourced: the Debian mirror and the proxy that this machine uses, as $mirror and $proxy.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n '/^\(deb\|URIs:\)[ [].*/s!.* \(https\?://[^ ]*/debian/\?\)\( .*\)\?$!\1!p' | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}
# shellcheck disable=SC2034
proxy=$(apt-config shell p Acquire::http::Proxy 2>/dev/null | sed "s/^p='\(.*\)'$/\1/")
