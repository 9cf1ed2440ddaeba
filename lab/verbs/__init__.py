"""What a fault does and undoes. `Verb` is the union of all verbs: a new one is a class and a row here."""

from __future__ import annotations

from lab.verbs import gluster, hosts, manager, network, storage

Verb = (
    hosts.PowerOff
    | hosts.Boot
    | hosts.Run
    | storage.Unplug
    | storage.Remount
    | network.CutOff
    | network.Reconnect
    | gluster.KillBricks
    | gluster.StartBricks
    | manager.KillManager
    | manager.StartManager
)
