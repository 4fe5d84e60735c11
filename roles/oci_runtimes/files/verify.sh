#!/bin/sh
# verify.sh ENGINE [NAME PROGRAM]...: a container by each runtime under docker, podman or containerd, of the host's own shell,
# so that nothing has to be downloaded; under none, and others, each has only to tell its version. A line tells why one does not run.
engine=$1
shift
image=ocilab-verify:$$
work=$(mktemp -d /var/tmp/ocilab-verify-XXXXXX) || exit 1

remove=true
case $engine in
docker | podman) remove="$engine image rm --force $image" ;;
esac
trap '$remove >/dev/null 2>&1; rm -rf "$work"' EXIT

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys"
cp -L /bin/sh "$work/root/bin/sh"
for file in $(ldd /bin/sh | grep -o '/[^ ]*'); do
    mkdir -p "$work/root${file%/*}"
    cp -L "$file" "$work/root$file"
done

run() {
    case $engine in
    docker) timeout 120 docker run --rm --runtime "$1" "$image" /bin/sh -c 'echo it runs' ;;
    podman) timeout 120 podman --runtime "$1" run --rm "$image" /bin/sh -c 'echo it runs' ;;
    containerd)
        timeout 120 ctr run --rm --runc-binary "$2" --rootfs "$work/root" "ocilab-verify-$$-$1" /bin/sh -c 'echo it runs'
        ;;
    *) timeout 120 "$2" --version >"$work/version" && echo it runs ;;
    esac 2>"$work/errors" </dev/null
}

case $engine in
docker | podman)
    if ! tar -C "$work/root" -c . | $engine import - "$image" >"$work/errors" 2>&1; then
        echo "no image under $engine: $(tail -n 1 "$work/errors")"
        exit 1
    fi
    ;;
esac
failed=0
while [ $# -gt 1 ]; do
    if [ "$(run "$1" "$2")" != "it runs" ]; then
        echo "$1 under $engine: $(grep -v "^Run '" "$work/errors" | tail -n 1)"
        failed=1
    fi
    shift 2
done
exit $failed
