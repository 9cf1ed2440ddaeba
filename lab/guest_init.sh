#!/bin/sh
# First program of a guest: the machine's own root, read-only over 9p with a tmpfs laid over it; then the
# commands in /then, with nothing but the kernel's filesystems mounted.
# The initramfs holds busybox, /modules (in the order to insert), /then and this file; nothing else.
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
while read -r module; do busybox insmod "$module"; done < /modules

busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /host
busybox mount -t tmpfs -o size=50% over /over
busybox mkdir /over/upper /over/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work root /root
for made in proc sys dev; do busybox mount --move /$made /root/$made; done
exec busybox switch_root /root /bin/sh -c '
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
    mount -t tmpfs run /run
    mkdir -p /run/lock /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs shm /dev/shm
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ip link set lo up
    eval "$1"' init "$(busybox cat /then)"
