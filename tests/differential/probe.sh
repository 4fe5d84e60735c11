# What a process sees of itself: sections that start with @NAME, on standard output. Run as `sh -c TEXT`, so that no script is
# open. What needs no further process comes first, for a container may be forbidden to have one.
show() { while IFS= read -r line || [ -n "$line" ]; do echo "$line"; done <"$1"; }
{
for name in status limits mountinfo uid_map gid_map setgroups oom_score_adj personality timens_offsets cgroup stat loginuid; do
    echo "@$name"
    show /proc/self/$name
done
echo @attr
show /proc/self/attr/current
for name in hostname domainname shmmax msgmax sem; do
    echo "@sys.$name"
    show /proc/sys/kernel/$name
done
echo @sys.ip_forward
show /proc/sys/net/ipv4/ip_forward
echo @cwd
pwd -P
echo @umask
umask
echo @keys
show /proc/keys
echo @arguments
echo "$0 $#"
echo @environ
tr '\0' '\n' </proc/$$/environ
} 2>/dev/null
echo @fds
ls -l /proc/$$/fd
{
echo @ioprio
ionice -p $$
echo @tty
tty
stty size
echo @network
ip link show lo
echo @dev
find /dev -exec stat -c '%n|%F|%t:%T|%a|%u:%g|%N' {} \;
} 2>/dev/null
echo @extra
