"""A host as an NFS server: the kernel's own, version 4 alone."""

from __future__ import annotations

import shlex

from lab.host import LabHost
from lab.scenario import ExportTable

# Seconds that the server waits for the claims of those that it knew, and for one that is silent.
_GRACE_S = 10


def serve(host: LabHost, export: ExportTable) -> None:
    """Exports a directory to everybody, as the root of what the host serves."""
    options = "rw,no_root_squash,fsid=0,no_subtree_check,insecure"
    host.run(f"""
set -eu
modprobe nfsd
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
echo {_GRACE_S} > /proc/fs/nfsd/nfsv4gracetime
echo {_GRACE_S} > /proc/fs/nfsd/nfsv4leasetime
mkdir -p /var/lib/nfs/v4recovery /run/rpc_pipefs {shlex.quote(export.path)}
: > /var/lib/nfs/etab
rpc.nfsd --no-nfs-version 3 --nfs-version 4 2
rpc.mountd --no-nfs-version 2 --no-nfs-version 3
exportfs -o {options} {shlex.quote("*:" + export.path)}
""")
