# Runs in the guest after scsi_machine.sh: writes down what the tools say, and what we see.
# $checkout is set before; answers go to the current directory.
mkdir scsi_id blkid
for name in $(ls /sys/block | grep -E '^(sd|dm|nvme|vd)'); do
    /lib/udev/scsi_id -g -u "/dev/$name" > "scsi_id/$name" || true
    blkid -p -o export "/dev/$name" > "blkid/$name" || true
done
lsblk --json --bytes -o KNAME,MAJ:MIN,SIZE,RO,RM,TYPE,TRAN,VENDOR,MODEL,SERIAL,MOUNTPOINT > lsblk
mounted.ocfs2 -d > mounted.ocfs2
df -k /storekeeper/samsung_ssd > df

# a multipath disk whose paths are gone and that queues: whoever reads it sleeps until they come back
dmsetup create --noudevsync hung --uuid mpath-35000c50015ea71ff --table "0 131072 linear /dev/$(disk hung) 0"
dmsetup suspend --noudevsync hung

# resumed by scsi_look: until then the process that waits for it cannot end
cd "$checkout"
.venv/bin/python -m tests.real.scsi_look /run/exchange
