"""What a source is, and the host that it asks.

A source is a pure `parse` and a `probe(host, scope, last)` that does nothing but ask `host`. So a
captured machine runs through the same code as a real one. Every method of `Host` may raise a
`HostError`; a probe turns that into a `Fault`, so that a failure is never an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

from storekeeper.errors import HostError
from storekeeper.formats.contract import ImageFile
from storekeeper.observation import Fact, Fault, Seen

# What a walk, and a watch, of a volume leaves out: other systems' own directories.
SKIPPED_DIRECTORIES = frozenset(
    {b".glusterfs", b".trashcan", b".snapshot", b".snapshots", b".zfs", b"lost+found"}
)
DEPTH_LIMIT = 32
# A walk may cost this share of one core at most, if the pause after it is not longer than that.
WALK_SHARE = 20
LONGEST_PAUSE_S = 30.0


class Output(Struct, frozen=True):
    """What a program printed and returned."""

    status: int
    out: bytes
    err: bytes


class FilesystemSpace(Struct, frozen=True):
    """statvfs(3) of a path, and the device it lies on (`major:minor`, from st_dev)."""

    block_bytes: int
    blocks: int
    available_blocks: int
    read_only: bool
    device_number: str


class FileRow(Struct, frozen=True, gc=False):
    """One regular file of a directory, as `lstat` gives it. `name` is the file's own bytes."""

    name: bytes
    inode: int
    size: int
    blocks: int
    modified_ns: int
    changed_ns: int
    links: int


class Directory(Struct, frozen=True):
    """One directory of a walk: `path` relative to the root in bytes (`b""` for the root itself).

    `fault` is set when the directory could not be read, or only in part. `skipped` counts entries
    that are no regular file or directory (symlinks, FIFOs, sockets, devices), or lie in another
    filesystem. `unseen`: the names of its files where the walk was asked for no more.
    """

    path: bytes
    files: list[FileRow]
    fault: str = ""
    fault_text: str = ""
    skipped: int = 0
    unseen: Sequence[bytes] = ()


class OpenImage(ImageFile, Protocol):
    """An image file of a volume, open for one inspection, with what `fstat` says of it."""

    row: FileRow

    @property
    def born_ns(self) -> int:
        """The birth time by `statx`, a call of its own; UNKNOWN where the filesystem keeps none."""


class ExtentRow(NamedTuple):
    """One extent of FIEMAP: offsets and length in bytes, the kernel's flags (linux/fiemap.h)."""

    logical: int
    physical: int
    length: int
    flags: int


class Domain(Struct, frozen=True):
    """A libvirt domain as libvirt describes it. XML is `""` where there is none."""

    name: str
    unique_id: str
    state: int
    persistent: bool
    live_xml: str
    persistent_xml: str
    snapshot_xmls: tuple[str, ...] = ()
    fault: str = ""


class Host(Protocol):
    """The machine that a source looks at: the real one, or a captured folder of one."""

    @property
    def name(self) -> str:
        """The host's own name (uname's nodename)."""

    def read(self, path: str, limit_bytes: int = 1 << 20) -> bytes:
        """A small file: procfs, sysfs, configuration. Never a file of a volume."""

    def names(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory of procfs, sysfs or configuration."""

    def target(self, path: str) -> str:
        """What a symbolic link says."""

    def resolve(self, path: str) -> str:
        """`path` with its symbolic links resolved (realpath). May hang on a dead mount."""

    def run(self, argv: Sequence[str], deadline_s: float) -> Output:
        """Runs a program without a shell, in the C locale, killed at the deadline with its children.

        Raises:
            ToolMissing: the program is not installed.
            TimedOut: it did not end in time.
        """

    def block(self, device: str, offset: int, length: int, *, direct: bool = False) -> bytes:
        """Bytes of a block device, or of a file that this host keeps. `direct`: past the page cache."""

    def space(self, path: str) -> FilesystemSpace:
        """statvfs and stat of a path; may hang on a dead mount."""

    def kind(self, path: str) -> Literal["absent", "directory", "other"]:
        """What stands at a path, symbolic links followed; may hang on a dead mount."""

    def read_uncached(self, path: str) -> None:
        """One read that the page cache cannot answer, of something below the directory `path`.

        Raises:
            Unreadable: the filesystem cannot read (its disk is gone, it shut down).
        """

    def walk(
        self, root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",
        names_only: bool = False,
    ) -> Iterator[Directory]:  # fmt: skip
        """Every directory below `root` in its own filesystem (st_dev), symbolic links not followed.

        A directory is yielded after it was read whole; parents come before their children. `below`
        starts there instead; nothing is yielded when that is no directory now. Paths and `depth_limit`
        always count from the root. With `names_only`, for who opens all files anyway, a host may leave
        them `unseen`.
        """

    def look(self, root: str, paths: Sequence[bytes]) -> Iterator[FileRow | None]:
        """`lstat` of some files below `root`, in order; None for what is no regular file now."""

    def open_images(
        self, root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
        *, failed: Callable[[bytes, Exception], None], threads: int = 1,
    ) -> None:  # fmt: skip
        """Opens each file below `root`, calls `inspect(path, file)`, closes it.

        Opened once, `O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC`, relative to its directory's descriptor, no
        symbolic link anywhere below `root`; refused unless `fstat` says a regular file.
        """

    def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
        """FIEMAP of a file below `root`, never with SYNC; at most `limit` rows."""

    def domains(self) -> list[Domain]:
        """Every domain of the system's libvirt, over a read-only connection.

        Raises:
            ToolMissing: libvirt-python or the daemon is not installed; `text` says what installs it.
        """


class Scope(Struct, frozen=True, kw_only=True):
    """Where a source is to look. `key` names the scope in reports: `""` for the host as a whole,
    else the volume's key (`STORAGE/VOLUME`).

    For a volume: `root` its place on this host; `paths` only these below the root (escaped), empty
    for all; `used` what guests use below the root, escaped path to declared format; `source` what must
    be mounted there; `must_be_mount`: nothing is looked at below a root that is no mount point;
    `gluster_name` the Gluster volume. `ask_cluster`: this host may run Gluster's cluster-wide commands.
    """

    key: str = ""
    root: str = ""
    paths: tuple[str, ...] = ()
    used: dict[str, str] = {}
    source: str = ""
    must_be_mount: bool = False
    gluster_name: str = ""
    ask_cluster: bool = True
    threads: int = 1


Probe = Callable[[Host, Scope, Seen | None], Seen]
Of = Literal["host", "volume"]


class Source(NamedTuple):
    """One row of SOURCES. `of`: asked once a host, or once a volume.

    `every_s`: the pause between two looks; `deadline_s`: after which its worker is killed. `wakes`:
    names of sources that are asked anew at once when this one's facts change. `probe(host, scope,
    last)`: `last` is the former look at the same scope, which lets a source reread only what changed.
    """

    name: str
    of: Of
    probe: Probe
    every_s: float
    deadline_s: float
    wakes: tuple[str, ...] = ()

    def pause_s(self, took_s: float) -> float:
        """The pause after a whole look that took so long: longer after a long one at a volume."""
        if self.of == "host":
            return self.every_s
        return max(self.every_s, min(LONGEST_PAUSE_S, WALK_SHARE * took_s))


def facts_by_key(facts: Sequence[Fact]) -> dict[str, Fact]:
    """Facts as a `Seen` holds them."""
    return {fact.key: fact for fact in facts}


def fault_of(error: HostError, hides: str = "") -> Fault:
    """What a question that failed leaves in a `Seen`."""
    return Fault(code=error.code, text=str(error), hides=hides)
