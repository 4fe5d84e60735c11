#!/bin/sh
# What a role has to bring back: packages, units, users, groups, interfaces, firewall rules and files, a line each.
dpkg-query -W -f 'package ${Package} ${Version} ${db:Status-Abbrev}\n'
apt-mark showmanual | sed 's/^/manual /'
systemctl list-unit-files --no-pager --no-legend | awk '$2 != "transient" { print "unit", $1, $2 }'
sed 's/^/account /' /etc/passwd /etc/group /etc/subuid /etc/subgid
for interface in /sys/class/net/*; do echo "interface ${interface##*/}"; done
for program in iptables ip6tables; do
    if command -v $program-save >/dev/null; then $program-save | sed -n "s/^-A/$program -A/p"; fi
done
# Not: caches and logs, what apt and dpkg keep, copies that the tools for users make, and data, which stays.
find /etc /usr /var /opt /boot -xdev \( -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/log \
    -o -path /var/lib/containers -o -path /var/lib/containerd -o -path /var/lib/docker -o -path /var/lib/docker-registry -o -path /var/lib/lxc -o -path /var/lib/systemd -o -path /var/tmp -o -name __pycache__ \) -prune \
    -o ! -name 'group-' ! -name 'gshadow-' ! -name 'passwd-' ! -name 'shadow-' ! -name 'subuid-' ! -name 'subgid-' \
    -printf 'file %p %y %m %u %g %l\n' | sort
find /etc -type f ! -name 'ld.so.cache' ! -name '*-' ! -name resolv.conf ! -name hosts -exec sha256sum {} + | sort -k 2
