"""What a fault does and undoes. `Verb` is the union of all verbs: a new one is a class and a row here."""

from __future__ import annotations

from lab.verbs import agents, gluster, hosts, manager, network, storage

Verb = (
    hosts.PowerOff
    | hosts.Boot
    | hosts.WaitForReset
    | hosts.Run
    | storage.Unplug
    | storage.Format
    | storage.Wipe
    | storage.Remount
    | storage.Unmount
    | storage.Mount
    | storage.Cover
    | storage.Suspend
    | storage.Resume
    | storage.FailIo
    | storage.Repair
    | network.CutOff
    | network.Reconnect
    | gluster.KillBricks
    | gluster.StartBricks
    | gluster.HangClient
    | gluster.ResumeClient
    | gluster.SplitBrain
    | gluster.HealSplitBrain
    | agents.StopAgent
    | agents.StartAgent
    | agents.Claim
    | agents.EndClaim
    | agents.SetClock
    | manager.KillManager
    | manager.StartManager
    | manager.Wait
    | manager.StopDatabase
    | manager.StartDatabase
    | manager.HangDatabase
    | manager.ResumeDatabase
)
