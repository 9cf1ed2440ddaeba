# What a test guest does: the script in the directory that it shares with the test, which finds there what it
# printed and its exit status.
mkdir -p /run/exchange
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 exchange /run/exchange
cd /run/exchange
/bin/sh -eu ./script > output 2>&1 < /dev/null
echo $? > status
sync
busybox poweroff -f
