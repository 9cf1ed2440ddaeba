# Runs in the guest of scsi_machine.py: puts its disks to use.
hostname flexdev01

disk() { # the kernel name of the SCSI disk with this serial number
    for device in /sys/block/sd*; do
        if grep -qas "$1" "$device/device/vpd_pg80"; then basename "$device"; return; fi
    done
    echo "no disk $1" >&2; exit 1
}

# one node of an OCFS2 cluster
mount -t configfs configfs /sys/kernel/config
mkdir -p /dlm /etc/ocfs2 /storekeeper/samsung_ssd
mount -t ocfs2_dlmfs ocfs2_dlmfs /dlm
printf 'cluster:\n\tnode_count = 1\n\tname = flexcluster\nnode:\n\tip_port = 7777\n\tip_address = 127.0.0.1\n\tnumber = 0\n\tname = flexdev01\n\tcluster = flexcluster\n' > /etc/ocfs2/cluster.conf
echo o2cb > /sys/fs/ocfs2/cluster_stack
o2cb register-cluster flexcluster
mount -t ocfs2 "/dev/$(disk ssd)" /storekeeper/samsung_ssd

mkdir -p "/srv/on a partition"
mount -t ext4 "/dev/$(disk gpt)1" "/srv/on a partition"
swapon "/dev/$(disk swap)"
dmsetup create --noudevsync demo-lv --uuid LVM-demo --table "0 2048 linear /dev/$(disk lvm) 2048"

# multipath-tools needs udev to have looked at the paths
cat > /etc/multipath.conf <<END
defaults {
    find_multipaths no
    user_friendly_names no
}
blacklist {
    device {
        vendor ".*"
        product ".*"
    }
}
blacklist_exceptions {
    device {
        vendor LIO
        product LUN0
    }
}
END
/lib/systemd/systemd-udevd --daemon
for device in /sys/block/sd*; do
    if grep -qs path0 "$device/device/vpd_pg80"; then echo "$device"; fi
done | xargs udevadm trigger --settle -c add
multipath -v2
